"""Log probabilities of turns' response tokens under a model, as the sampler that produced them saw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hiper.learning.batches import TurnRow, micro_batches
from hiper.learning.decoder import Decoder, Packing
from hiper.learning.losses import entropies
from hiper.learning.processes import Processes
from hiper.learning.restrict import Restriction
from hiper.learning.training_engine import Run


class LogProbs:
    """`temperature` and `restriction` are the sampler's; `budget` limits the tokens of a micro-batch, which the
    `processes` share."""

    def __init__(
        self, restriction: Restriction | None, temperature: float, budget: int, device: str, processes: Processes
    ) -> None:
        self.restriction, self.temperature = restriction, temperature or 1.0
        self.budget, self.device, self.processes = budget, device, processes

    def at(
        self, model: Decoder, batch: Sequence[TurnRow], select: Sequence[npt.NDArray[np.bool_]]
    ) -> tuple[Tensor, Tensor]:
        """(log distribution [tokens, vocabulary], log probability of the token taken [tokens]) at the selected response
        tokens; gradients flow unless disabled by the caller."""
        positions = [np.flatnonzero(mask) for mask in select]
        wanted = [p + row.prompt_length - 1 for p, row in zip(positions, batch, strict=True)]
        hidden, _ = model.model.hidden(Packing.of([row.tokens for row in batch], wanted, self.device))
        logits = model.logits(hidden)
        if self.restriction is not None:
            allowed = [
                row.allowed[p] for row, ps in zip(batch, positions, strict=True) if row.allowed is not None for p in ps
            ]
            logits = self.restriction.apply(logits, allowed)
        logprobs = (logits / self.temperature).log_softmax(-1)
        tokens = np.concatenate([row.tokens[w + 1] for row, w in zip(batch, wanted, strict=True)]).astype(np.int64)
        return logprobs, logprobs.gather(1, torch.as_tensor(tokens, device=self.device)[:, None]).squeeze(1)

    def nothing(self, model: Decoder) -> Tensor:
        """Zero, through every layer: for a process that takes part with nothing of its own."""
        one = np.zeros(1, np.int64)
        return 0.0 * model.logits(model.model.hidden(Packing.of([one], [one], self.device))[0]).sum()

    def of_responses(self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow]) -> list[Tensor]:
        """Of every response token, one tensor [response] per row; `run` is how the model is run."""
        return self._read(model, run, rows, lambda distribution, taken: taken)

    def entropies(self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow]) -> list[Tensor]:
        """Of the distribution at every response token, one tensor [response] per row."""
        return self._read(model, run, rows, lambda distribution, taken: entropies(distribution))

    @torch.no_grad()
    def _read(
        self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow], read: Callable[[Tensor, Tensor], Tensor]
    ) -> list[Tensor]:
        """What `read` makes of what `at` returns, [tokens], for every response token."""
        sizes = [len(row.trained) for row in rows]
        out = [torch.zeros(size, device=self.device) for size in sizes]
        lengths = np.array([len(row.tokens) for row in rows])
        for group in self.processes.dealt(micro_batches(lengths, self.processes.budget(lengths, self.budget))):
            if group is None:
                run(partial(self.nothing, model))
                continue
            batch = [rows[i] for i in group]
            found = read(*run(partial(self.at, model, batch, [np.ones_like(row.trained) for row in batch])))
            for i, part in zip(group, found.split([sizes[i] for i in group]), strict=True):
                out[i] = part
        if self.processes.size == 1:
            return out
        everyone = self.processes.summed(torch.cat(out).double().cpu().numpy())
        return list(torch.as_tensor(everyone.astype(np.float32), device=self.device).split(sizes))
