"""Log probabilities of turns' response tokens under a model, as the sampler that produced them saw them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hiper.learning import losses
from hiper.learning.batches import TurnRow, micro_batches
from hiper.learning.decoder import Decoder, Packing
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
        self,
        model: Decoder,
        batch: Sequence[TurnRow],
        select: Sequence[npt.NDArray[np.bool_]],
        acted: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(log probability of the token taken [tokens], entropy summed over those of the tokens that are `acted`
        [tokens]) at the selected response tokens; gradients flow unless disabled by the caller. The distributions over
        a large vocabulary are never all there at once (`Decoder.over_logits`)."""

        def read(logprobs: Tensor, taken: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            return taken, logprobs.new_zeros(()) if acted is None else losses.entropy(logprobs[acted[rows]])

        return self._over(model, batch, select, read)

    def entropies_at(
        self, model: Decoder, batch: Sequence[TurnRow], select: Sequence[npt.NDArray[np.bool_]]
    ) -> tuple[Tensor, Tensor]:
        """(entropy of the distribution [tokens], 0) at the selected response tokens; otherwise as `at`."""
        return self._over(
            model, batch, select, lambda logprobs, taken, rows: (losses.entropies(logprobs), logprobs.new_zeros(()))
        )

    def _over(
        self,
        model: Decoder,
        batch: Sequence[TurnRow],
        select: Sequence[npt.NDArray[np.bool_]],
        each: Callable[[Tensor, Tensor, slice], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """What `each` makes of the log distributions [some tokens, vocabulary], the log probabilities of the tokens
        taken there, and which of the selected tokens they are; put together by `Decoder.over_logits`."""
        positions = [np.flatnonzero(mask) for mask in select]
        wanted = [p + row.prompt_length - 1 for p, row in zip(positions, batch, strict=True)]
        hidden, _ = model.model.hidden(Packing.of([row.tokens for row in batch], wanted, self.device))
        chosen = np.concatenate([row.tokens[w + 1] for row, w in zip(batch, wanted, strict=True)]).astype(np.int64)
        tokens = torch.as_tensor(chosen, device=self.device)[:, None]
        allowed: list[tuple[int, ...]] = []
        for row, places in zip(batch, positions, strict=True) if self.restriction is not None else ():
            assert row.allowed is not None  # the sampler was restricted
            allowed += [row.allowed[place] for place in places]

        def read(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            if self.restriction is not None:
                logits = self.restriction.apply(logits, allowed[rows])
            logprobs = (logits / self.temperature).log_softmax(-1)
            return each(logprobs, logprobs.gather(1, tokens[rows]).squeeze(1), rows)

        return model.over_logits(hidden, read)

    def nothing(self, model: Decoder) -> Tensor:
        """Zero, through every layer: for a process that takes part with nothing of its own."""
        one = np.zeros(1, np.int64)
        return 0.0 * model.logits(model.model.hidden(Packing.of([one], [one], self.device))[0]).sum()

    def of_responses(self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow]) -> list[Tensor]:
        """Of every response token, one tensor [response] per row; `run` is how the model is run."""
        return self._read(model, run, rows, self.at)

    def entropies(self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow]) -> list[Tensor]:
        """Of the distribution at every response token, one tensor [response] per row."""
        return self._read(model, run, rows, self.entropies_at)

    @torch.no_grad()
    def _read(
        self, model: Decoder, run: Run[Any], rows: Sequence[TurnRow], at: Callable[..., tuple[Tensor, Tensor]]
    ) -> list[Tensor]:
        """What `at` finds at every response token."""
        sizes = [len(row.trained) for row in rows]
        out = [torch.zeros(size, device=self.device) for size in sizes]
        lengths = np.array([len(row.tokens) for row in rows])
        for group in self.processes.dealt(micro_batches(lengths, self.processes.budget(lengths, self.budget))):
            if group is None:
                run(partial(self.nothing, model))
                continue
            batch = [rows[i] for i in group]
            found, _ = run(partial(at, model, batch, [np.ones_like(row.trained) for row in batch]))
            for i, part in zip(group, found.split([sizes[i] for i in group]), strict=True):
                out[i] = part
        if self.processes.size == 1:
            return out
        everyone = self.processes.summed(torch.cat(out).double().cpu().numpy())
        return list(torch.as_tensor(everyone.astype(np.float32), device=self.device).split(sizes))
