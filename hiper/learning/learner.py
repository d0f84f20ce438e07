"""Actor and critic with their optimisers: one object that turns a rollout batch into two updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hiper.config import Training
from hiper.learning import losses
from hiper.learning.batches import TurnRow, micro_batches, mini_batches
from hiper.learning.critic import Critic, State, ValueHeads
from hiper.learning.qwen2 import Decoder, Packing
from hiper.learning.restrict import Restriction


@dataclass(frozen=True)
class Targets:
    """What one head learns: `old` value, `target` and `mask`, all [states]; of a head that is read at every token
    [states, token], the mask being where it was read."""

    old: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


class Learner:
    """`temperature` is the sampler's: log probabilities are compared at the temperature they were sampled with."""

    def __init__(
        self,
        actor: Decoder,
        reference: Decoder | None,
        critic: Critic,
        settings: Training,
        restriction: Restriction | None,
        temperature: float,
        autocast: bool,
    ) -> None:
        self.actor, self.reference, self.critic, self.settings = actor, reference, critic, settings
        self.restriction, self.temperature, self.autocast = restriction, temperature or 1.0, autocast
        self.device = critic.device
        self.actor_optimizer = torch.optim.AdamW(
            actor.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
        )
        self.frozen_features = settings.critic.backbone == "shared" and settings.critic.detach
        trained: list[Tensor] = list(critic.heads.parameters())
        if not self.frozen_features:
            trained += list(critic.backbone.parameters())
        self.critic_parameters = trained
        self.critic_optimizer = torch.optim.AdamW(
            [{"params": trained}],  # a group, because it may be empty: an algorithm without value heads
            lr=settings.critic.learning_rate,
            weight_decay=settings.weight_decay,
            foreach=True,
        )

    def update_critic(
        self, states: Sequence[State], targets: Mapping[str, Targets], random: np.random.Generator
    ) -> dict[str, float]:
        """`critic.epochs` passes over the turns' states; returns mean losses per head. Without heads: nothing."""
        if not targets:
            return {}
        sums = dict.fromkeys(targets, 0.0)
        steps = 0
        for _ in range(self.settings.critic.epochs):
            order = random.permutation(len(states))
            for chosen in mini_batches(len(states), self.settings.mini_batch_turns, order):
                self.critic_optimizer.zero_grad(set_to_none=True)
                for name, value in self._critic_losses(states, targets, chosen).items():
                    sums[name] += value
                torch.nn.utils.clip_grad_norm_(self.critic_parameters, self.settings.gradient_clip)
                self.critic_optimizer.step()
                steps += 1
        return {f"critic/loss_{name}": value / steps for name, value in sums.items()}

    def _critic_losses(
        self, states: Sequence[State], targets: Mapping[str, Targets], chosen: npt.NDArray[np.int64]
    ) -> dict[str, float]:
        """Backward of one mini-batch; the loss of each head is a mean over the mini-batch's masked turns (or
        tokens)."""
        totals = dict.fromkeys(targets, 0.0)
        if self.frozen_features:
            groups = [chosen]
        else:
            lengths = np.array([len(states[i].tokens) for i in chosen])
            groups = [chosen[g] for g in micro_batches(lengths, self.settings.micro_batch_tokens)]
        for group in groups:
            loss = torch.zeros((), device=self.device)
            with self._autocast():
                hidden = self._hidden(states, group)
            for name, target in targets.items():
                count = int(target.mask[chosen].sum())
                mask = target.mask[group]
                if not mask.any():
                    continue
                features = hidden[self.critic.kinds[name]]
                # of every token there are features for the masked ones alone, in the mask's order
                rows = np.flatnonzero(mask) if mask.ndim == 1 else np.arange(len(features))
                value = self.critic.heads.value(name, features[rows].float())
                old, wanted = self._tensor(target.old[group][mask]), self._tensor(target.target[group][mask])
                part = losses.clipped_value_loss(value, old, wanted, self.settings.critic.clip)
                loss = loss + part / count
                totals[name] += float(part.detach()) / count
            if loss.requires_grad:
                loss.backward()
        return totals

    def _hidden(self, states: Sequence[State], group: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """The hidden states that each read-out kind has in these states, one below the other [read-outs, hidden]."""
        kinds = sorted(set(self.critic.kinds.values()))
        if self.frozen_features:
            return {kind: self._tensor(np.concatenate([states[i].features[kind] for i in group])) for kind in kinds}
        rows = self.critic.hidden([states[i] for i in group])
        return {kind: torch.cat([row[kind] for row in rows]) for kind in kinds}

    def update_actor(
        self, rows: Sequence[TurnRow], random: np.random.Generator, learning_rate: float
    ) -> dict[str, float]:
        """`epochs` passes of clipped policy gradient over the turns, plus KL and entropy; returns means over tokens."""
        for group in self.actor_optimizer.param_groups:
            group["lr"] = learning_rate
        reference = self._reference(rows) if self.reference is not None else None
        totals: dict[str, float] = dict.fromkeys(
            ("loss", "clip_fraction", "entropy", "kl_reference", "kl_old", "norm"), 0.0
        )
        steps = 0
        for _ in range(self.settings.epochs):
            order = random.permutation(len(rows))
            for chosen in mini_batches(len(rows), self.settings.mini_batch_turns, order):
                self.actor_optimizer.zero_grad(set_to_none=True)
                for name, value in self.accumulate_actor_gradients(rows, chosen, reference).items():
                    totals[name] += value
                norm = torch.nn.utils.clip_grad_norm_(self.actor.parameters(), self.settings.gradient_clip)
                totals["norm"] += float(norm)
                self.actor_optimizer.step()
                steps += 1
        return {f"policy/{name}": value / steps for name, value in totals.items()}

    def accumulate_actor_gradients(
        self, rows: Sequence[TurnRow], chosen: npt.NDArray[np.int64], reference: Sequence[Tensor] | None = None
    ) -> dict[str, float]:
        """Add the gradients of one mini-batch, `rows[chosen]`, to the actor's, without a step; returns means over its
        tokens. Every term is divided by the token count of the whole mini-batch. `reference`: log π_ref of the response
        tokens of each of `rows`, [response] per row; without it there is no KL term."""
        settings = self.settings
        trained_count = max(1, sum(int(rows[i].trained.sum()) for i in chosen))
        chosen_count = max(1, sum(int(rows[i].chosen.sum()) for i in chosen))
        sums = dict.fromkeys(("loss", "clip_fraction", "entropy", "kl_reference", "kl_old"), 0.0)
        lengths = np.array([len(rows[i].tokens) for i in chosen])
        for group in micro_batches(lengths, settings.micro_batch_tokens):
            batch = [rows[i] for i in chosen[group]]
            select = [row.trained | row.chosen if self._restrains else row.trained for row in batch]
            if not any(mask.any() for mask in select):
                continue
            logprobs, taken = self._logprobs(self.actor, batch, select)
            old = self._tensor(_flat(batch, select, "logprob"))
            trained = self._tensor(_flat(batch, select, "trained"))
            advantage = self._tensor(_flat(batch, select, "advantage"))[trained]
            loss, clipped = losses.clipped_policy_loss(
                taken[trained], old[trained], advantage, settings.clip_low, settings.clip_high, settings.dual_clip
            )
            total = loss / trained_count
            acted = self._tensor(_flat(batch, select, "chosen"))
            entropy = losses.entropy(logprobs[acted])
            if settings.entropy:
                total = total - settings.entropy * entropy / chosen_count
            if reference is not None:
                under_reference = torch.cat([reference[i][mask] for i, mask in zip(chosen[group], select, strict=True)])
                divergence = losses.k3_divergence(taken[acted], under_reference[acted])
                total = total + settings.kl * divergence / chosen_count
                sums["kl_reference"] += float(divergence.detach()) / chosen_count
            total.backward()
            sums["loss"] += float(loss.detach()) / trained_count
            sums["clip_fraction"] += float(clipped) / trained_count
            sums["entropy"] += float(entropy.detach()) / chosen_count
            sums["kl_old"] += float((old - taken.detach())[trained].sum()) / trained_count
        return sums

    @property
    def _restrains(self) -> bool:
        """KL and entropy act on every token the policy chose, trained or not."""
        return bool(self.settings.kl or self.settings.entropy)

    @torch.no_grad()
    def _reference(self, rows: Sequence[TurnRow]) -> list[Tensor]:
        """log π_ref of every response token, one tensor [response] per row."""
        assert self.reference is not None
        out: list[Tensor] = [torch.empty(0)] * len(rows)
        lengths = np.array([len(row.tokens) for row in rows])
        for group in micro_batches(lengths, self.settings.micro_batch_tokens):
            batch = [rows[i] for i in group]
            _, taken = self._logprobs(self.reference, batch, [np.ones_like(row.trained) for row in batch])
            for i, part in zip(group, taken.split([len(row.trained) for row in batch]), strict=True):
                out[i] = part
        return out

    def _logprobs(
        self, model: Decoder, batch: Sequence[TurnRow], select: Sequence[npt.NDArray[np.bool_]]
    ) -> tuple[Tensor, Tensor]:
        """(log distribution [tokens, vocabulary], log probability of the token taken [tokens]) at the selected response
        tokens, under the sampler's temperature and restriction."""
        positions = [np.flatnonzero(mask) for mask in select]
        wanted = [p + row.prompt_length - 1 for p, row in zip(positions, batch, strict=True)]
        with self._autocast():
            hidden, _ = model.model.hidden(Packing.of([row.tokens for row in batch], wanted, self.device))
            logits = model.logits(hidden)
        if self.restriction is not None:
            allowed = [
                row.allowed[p] for row, ps in zip(batch, positions, strict=True) if row.allowed is not None for p in ps
            ]
            logits = self.restriction.apply(logits, allowed)
        logprobs = (logits / self.temperature).log_softmax(-1)
        tokens = np.concatenate([row.tokens[w + 1] for row, w in zip(batch, wanted, strict=True)]).astype(np.int64)
        return logprobs, logprobs.gather(1, self._tensor(tokens)[:, None]).squeeze(1)

    def _autocast(self) -> Any:
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.autocast)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=self.device)


def _flat(batch: Sequence[TurnRow], select: Sequence[npt.NDArray[np.bool_]], name: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(row, name)[mask] for row, mask in zip(batch, select, strict=True)])


def build_heads(hidden: int, names: Sequence[str], width: int, seed: Sequence[int]) -> ValueHeads:
    """Freshly initialised value heads; the same seed gives the same weights."""
    heads = ValueHeads(hidden, names, width)
    heads.initialize(torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0])))
    return heads
