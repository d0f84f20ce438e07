"""Actor and critic with their optimisers: one object that turns a rollout batch into two updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hiper.config import Critic as CriticSettings
from hiper.config import Training
from hiper.learning import losses
from hiper.learning.batches import TurnRow, micro_batches, mini_batches
from hiper.learning.critic import Critic, State, ValueHeads, idle_state
from hiper.learning.decoder import Decoder
from hiper.learning.logprobs import LogProbs
from hiper.learning.restrict import Restriction
from hiper.learning.training_engine import Engines, Run
from hiper.learning.value_losses import value_loss
from hiper.randomness import seed_number


@dataclass(frozen=True)
class Targets:
    """What one head learns: `old` value, `target` and `mask`, all [states]; of a head that is read at every token
    [states, token], the mask being where it was read."""

    old: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]


class Learner:
    """`temperature` is the sampler's: log probabilities are compared at the temperature they were sampled with.
    `engines` take the models into training.

    Losses are divided by counts of the whole mini-batch, and every process knows all of it: each takes its share of the
    micro-batches, and the update does not depend on how many processes there are.
    """

    def __init__(
        self,
        actor: Decoder,
        reference: Decoder | None,
        critic: Critic,
        settings: Training,
        restriction: Restriction | None,
        temperature: float,
        engines: Engines,
    ) -> None:
        self.actor, self.reference, self.critic, self.settings = actor, reference, critic, settings
        self.token_loss = losses.token_loss(settings.loss)
        self.device, self.processes = critic.device, engines.processes
        budget = settings.micro_batch_tokens
        self.logprobs = LogProbs(restriction, temperature, budget, self.device, self.processes)
        self.own_backbone = critic.backbone is not actor.model
        self.frozen_features = not self.own_backbone and (settings.critic.detach or not critic.read_outs)
        decay, clip = settings.weight_decay, settings.gradient_clip
        self.actor_engine = engines.trained(actor, settings.learning_rate, decay, clip)
        trained = nn.ModuleDict({"heads": critic.heads})
        if not self.frozen_features:
            trained["backbone"] = critic.backbone
        self.critic_engine = engines.trained(
            trained, settings.critic.learning_rate, decay, clip, full_precision=self.frozen_features
        )
        self.run_reference: Run[Any] | None = None if reference is None else engines.frozen(reference)
        critic.run_backbone = self.critic_engine.run if self.own_backbone else self.actor_engine.run
        critic.run_heads, critic.processes = self.critic_engine.run, self.processes

    def update_critic(
        self,
        states: Sequence[State],
        targets: Mapping[str, Targets],
        random: np.random.Generator,
        epochs: int | None = None,
    ) -> dict[str, float]:
        """`critic.epochs` passes over the turns' states, or so many; returns mean losses per head. Without heads:
        nothing."""
        if not targets:
            return {}
        sums = dict.fromkeys(targets, 0.0)
        steps = 0
        for _ in range(self.settings.critic.epochs if epochs is None else epochs):
            order = random.permutation(len(states))
            for chosen in mini_batches(len(states), self.settings.mini_batch_turns, order):
                self.critic_engine.zero_grad()
                for name, value in self._critic_losses(states, targets, chosen).items():
                    sums[name] += value
                self.critic_engine.step()
                steps += 1
        return {f"critic/loss_{name}": value / steps for name, value in self._over_processes(sums).items()}

    def _critic_losses(
        self, states: Sequence[State], targets: Mapping[str, Targets], chosen: npt.NDArray[np.int64]
    ) -> dict[str, float]:
        """Backward of one mini-batch; the loss of each head is a mean over the mini-batch's masked turns (or
        tokens). Returns this process's part of it."""
        totals = dict.fromkeys(targets, 0.0)
        counts = {name: max(1, int(target.mask[chosen].sum())) for name, target in targets.items()}
        for group in self._critic_groups(states, chosen):
            parts = self.critic_engine.run(partial(self._value_losses, states, targets, group))
            loss = torch.zeros((), device=self.device)
            for name, part in parts.items():
                loss = loss + part / counts[name]
                totals[name] += float(part.detach()) / counts[name]
            if loss.requires_grad:
                self.critic_engine.backward(loss)
        return totals

    def _critic_groups(
        self, states: Sequence[State], chosen: npt.NDArray[np.int64]
    ) -> Sequence[npt.NDArray[np.int64] | None]:
        """This process's micro-batches of a mini-batch; None: take part with nothing of its own."""
        if self.frozen_features:
            return [np.array([i for i in chosen if states[i].features], dtype=np.int64)]
        lengths = np.array([len(states[i].tokens) for i in chosen])
        budget = self.processes.budget(lengths, self.settings.micro_batch_tokens)
        return self.processes.dealt([chosen[g] for g in micro_batches(lengths, budget)])

    def _value_losses(
        self,
        states: Sequence[State],
        targets: Mapping[str, Targets],
        group: npt.NDArray[np.int64] | None,
    ) -> dict[str, Tensor]:
        """Each head's loss, summed over `group`; heads that have nothing to learn there are left out, unless the engine
        wants every parameter."""
        if group is None:
            (hidden,) = self.critic.hidden([idle_state(self.critic.read_outs)])
            return {
                name: 0.0 * self.critic.heads.output(name, hidden[self.critic.read_outs[name]]).sum()
                for name in targets
            }
        hidden, parts = self._hidden(states, group), {}
        for name, target in targets.items():
            mask = target.mask[group]
            if not mask.any() and not self.critic_engine.every_parameter:
                continue
            features = hidden[self.critic.read_outs[name]]
            # of every token there are features for the masked ones alone, in the mask's order
            rows = np.flatnonzero(mask) if mask.ndim == 1 else np.arange(len(features))
            output = self.critic.heads.output(name, features[rows].float())
            old, wanted = self._tensor(target.old[group][mask]), self._tensor(target.target[group][mask])
            parts[name] = self.critic.heads.loss.loss(output, old, wanted)
        return parts

    def _hidden(self, states: Sequence[State], group: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """The hidden states that each read-out has in these states, one below the other [read-outs, hidden]."""
        names = sorted(set(self.critic.read_outs.values()))
        if self.frozen_features:
            none = np.zeros((0, self.critic.backbone.shape.hidden_size), np.float32)
            return {
                name: self._tensor(np.concatenate([none, *(states[i].features[name] for i in group)])) for name in names
            }
        rows = self.critic.hidden([states[i] for i in group])
        return {name: torch.cat([row[name] for row in rows]) for name in names}

    def update_actor(
        self, rows: Sequence[TurnRow], random: np.random.Generator, learning_rate: float
    ) -> dict[str, float]:
        """`epochs` passes of the token loss over the turns, plus KL and entropy; returns means over tokens."""
        self.actor_engine.set_learning_rate(learning_rate)
        reference = None
        if self.reference is not None and self.run_reference is not None:
            reference = self.logprobs.of_responses(self.reference, self.run_reference, rows)
        sums = dict.fromkeys(("loss", "clip_fraction", "entropy", "kl_reference", "kl_old"), 0.0)
        norms = []
        for _ in range(self.settings.epochs):
            order = random.permutation(len(rows))
            for chosen in mini_batches(len(rows), self.settings.mini_batch_turns, order):
                self.actor_engine.zero_grad()
                for name, value in self.accumulate_actor_gradients(rows, chosen, reference).items():
                    sums[name] += value
                norms.append(self.actor_engine.step())
        means = {name: value / len(norms) for name, value in self._over_processes(sums).items()}
        return {f"policy/{name}": value for name, value in means.items()} | {"policy/norm": sum(norms) / len(norms)}

    def accumulate_actor_gradients(
        self, rows: Sequence[TurnRow], chosen: npt.NDArray[np.int64], reference: Sequence[Tensor] | None = None
    ) -> dict[str, float]:
        """Add the gradients of one mini-batch, `rows[chosen]`, to the actor's, without a step; returns this process's
        part of the means over its tokens. Every term is divided by the token count of the whole mini-batch.
        `reference`: log π_ref of the response tokens of each of `rows`, [response] per row; without it there is no KL
        term."""
        trained_count = max(1, sum(int(rows[i].trained.sum()) for i in chosen))
        chosen_count = max(1, sum(int(rows[i].chosen.sum()) for i in chosen))
        sums = dict.fromkeys(("loss", "clip_fraction", "entropy", "kl_reference", "kl_old"), 0.0)
        lengths = np.array([len(rows[i].tokens) for i in chosen])
        groups = micro_batches(lengths, self.processes.budget(lengths, self.settings.micro_batch_tokens))
        useful = [chosen[group] for group in groups if any(self._selected(rows[i]).any() for i in chosen[group])]
        for group in self.processes.dealt(useful):
            if group is None:
                self.actor_engine.backward(self.actor_engine.run(partial(self.logprobs.nothing, self.actor)))
                continue
            batch = [rows[i] for i in group]
            under_reference = None if reference is None else [reference[i] for i in group]
            self._accumulate(batch, under_reference, trained_count, chosen_count, sums)
        return sums

    def _accumulate(
        self,
        batch: Sequence[TurnRow],
        reference: Sequence[Tensor] | None,
        trained_count: int,
        chosen_count: int,
        sums: dict[str, float],
    ) -> None:
        """Backward of one micro-batch; adds its part of the means to `sums`."""
        settings, select = self.settings, [self._selected(row) for row in batch]
        acted = self._tensor(_flat(batch, select, "chosen"))
        taken, entropy = self.actor_engine.run(partial(self.logprobs.at, self.actor, batch, select, acted))
        old = self._tensor(_flat(batch, select, "logprob"))
        trained = self._tensor(_flat(batch, select, "trained"))
        advantage = self._tensor(_flat(batch, select, "advantage"))[trained]
        corrected = batch[0].importance is not None  # then every row is
        importance = self._tensor(_flat(batch, select, "importance"))[trained] if corrected else None
        turn = self._tensor(np.repeat(np.arange(len(batch)), [mask.sum() for mask in select]))[trained]
        tokens = losses.Tokens(taken[trained], old[trained], advantage, turn, importance)
        loss, clipped = self.token_loss(tokens, settings)
        total = loss / trained_count
        if settings.entropy:
            total = total - settings.entropy * entropy / chosen_count
        if reference is not None:
            under_reference = torch.cat([row[mask] for row, mask in zip(reference, select, strict=True)])
            divergence = losses.k3_divergence(taken[acted], under_reference[acted])
            total = total + settings.kl * divergence / chosen_count
            sums["kl_reference"] += float(divergence.detach()) / chosen_count
        self.actor_engine.backward(total)
        sums["loss"] += float(loss.detach()) / trained_count
        sums["clip_fraction"] += float(clipped) / trained_count
        sums["entropy"] += float(entropy.detach()) / chosen_count
        sums["kl_old"] += float((old - taken.detach())[trained].sum()) / trained_count

    def _selected(self, row: TurnRow) -> npt.NDArray[np.bool_]:
        """The response tokens [response] whose log probabilities the loss needs."""
        return row.trained | row.chosen if self._restrains else row.trained

    def critic_weights(self) -> Iterator[tuple[str, Tensor]]:
        """The value heads, whole, and the critic's backbone (`backbone.…`) where it is not the actor's."""
        for name, weight in self.critic_engine.weights():
            if self.own_backbone or not name.startswith("backbone."):
                yield name.removeprefix("heads."), weight

    def _over_processes(self, sums: Mapping[str, float]) -> dict[str, float]:
        return dict(zip(sums, self.processes.summed(np.array(list(sums.values()))).tolist(), strict=True))

    @property
    def _restrains(self) -> bool:
        """KL and entropy act on every token the policy chose, trained or not."""
        return bool(self.settings.kl or self.settings.entropy)

    def actor_logprobs(self, rows: Sequence[TurnRow]) -> list[Tensor]:
        """log π of every response token under the actor as it is now, one tensor [response] per row."""
        return self.logprobs.of_responses(self.actor, self.actor_engine.run, rows)

    def actor_entropies(self, rows: Sequence[TurnRow]) -> list[Tensor]:
        """The actor's entropy at every response token, as it is now, one tensor [response] per row."""
        return self.logprobs.entropies(self.actor, self.actor_engine.run, rows)

    def _tensor(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.as_tensor(array, device=self.device)


def _flat(batch: Sequence[TurnRow], select: Sequence[npt.NDArray[np.bool_]], name: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(row, name)[mask] for row, mask in zip(batch, select, strict=True)])


def build_heads(hidden: int, names: Sequence[str], settings: CriticSettings, seed: Sequence[int]) -> ValueHeads:
    """Freshly initialised value heads; the same seed gives the same weights."""
    heads = ValueHeads(hidden, names, settings.head_hidden, value_loss(settings))
    heads.initialize(torch.Generator().manual_seed(seed_number(seed)))
    return heads
