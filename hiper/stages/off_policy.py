"""Learning from stored turns: ArCHer's critic and actor updates (`hiper.algorithms.archer`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiper.algorithms.interface import Floats
from hiper.algorithms.normalize import standardize
from hiper.algorithms.off_policy import OffPolicy
from hiper.config import RunSettings
from hiper.learning.batches import TurnRow, chosen_tokens, generation_of
from hiper.learning.critic import Critic, State, turn_state
from hiper.learning.learner import Learner, Targets
from hiper.learning.mismatch import corrected_rows, mismatch_metrics, require_agreement
from hiper.policies.backend import Players
from hiper.policies.base import RememberingPolicy, Request
from hiper.randomness import generator
from hiper.stages.replay import packed_turn, unpacked_turn
from hiper.stages.tasks import stream
from hiper.trajectory import IntArray, Trajectory, Turn, without_features

TWINS = (1, 2)  # critics
READ = ("answer", "prompt")
CRITIC, ACTOR = 0, 1  # streams of random numbers of their own


@dataclass(frozen=True)
class StoredTurn:
    """A stored turn; the `subgoal` that it began with; its `reward`, penalties included; the tokens of the next prompt,
    None where the episode ended."""

    turn: Turn
    subgoal: str | None
    reward: float
    after: IntArray | None


class OffPolicyLearner:
    """Stores the turns of all iterations and trains critic and actor on them. `players` sample the actor as it is;
    `target` is the copy that follows the critic, its heads and, where it has its own, its backbone."""

    def __init__(self, settings: RunSettings, own: OffPolicy, learner: Learner, players: Players) -> None:
        self.settings, self.own, self.learner, self.players = settings, own, learner, players
        self.algorithm: Any = settings.algorithm
        self.policy = players.policy(settings.decoding.temperature)
        critic = self.critic = learner.critic
        backbone = copy.deepcopy(critic.backbone) if learner.own_backbone else critic.backbone
        heads = copy.deepcopy(critic.heads)
        self.target = Critic(backbone, heads, critic.read_outs, critic.budget, critic.device)
        self.target.run_backbone, self.target.run_heads = critic.run_backbone, critic.run_heads
        self.moments: list[StoredTurn] = []

    def remember(self, trajectories: Sequence[Trajectory]) -> None:
        """Store an iteration's turns."""
        for trajectory in trajectories:
            turns, last = trajectory.turns, None
            if trajectory.truncated and trajectory.last_prompt is not None and self.algorithm.bootstrap_truncated:
                last = self.policy.encode_prompt(trajectory.last_prompt)
            prompts = [*(generation_of(turn)[0] for turn in turns[1:]), last]
            subgoals = [None, *(turn.subgoal for turn in turns)]
            for turn, subgoal, after in zip(turns, subgoals, prompts, strict=False):
                reward = turn.reward - (0.0 if turn.valid else self.algorithm.penalties.invalid)
                self.moments.append(StoredTurn(without_features(turn), subgoal, float(reward), after))
        self.moments = self.moments[-self.own.capacity :]

    def update(
        self, iteration: int, random: np.random.Generator, learning_rate: float, train_actor: bool
    ) -> dict[str, float]:
        """Run an iteration's epochs; returns the means of their metrics, and how many there were."""
        critic = [self._critic_epoch(iteration, epoch, random) for epoch in range(self.own.critic_epochs)]
        epochs = self.own.actor_epochs if train_actor else 0
        actor = [self._actor_epoch(iteration, epoch, random, learning_rate) for epoch in range(epochs)]
        counts = {"turns": len(self.moments), "critic_epochs": len(critic), "actor_epochs": len(actor)}
        return _means(critic) | _means(actor) | {f"replay/{name}": float(count) for name, count in counts.items()}

    def _critic_epoch(self, iteration: int, epoch: int, random: np.random.Generator) -> dict[str, float]:
        batch, fresh = self._drawn(iteration, CRITIC, epoch)
        known, gamma = self.learner.frozen_features, self.algorithm.gamma
        after = [
            State(one.after, len(one.after), (place, 0), {"prompt": np.array([len(one.after) - 1])})
            for place, one in enumerate(batch)
            if one.after is not None
        ]
        following = self._values(self.target, after, "v", len(batch))
        answered = self._values(self.target, _states(fresh, known), "q", len(batch))
        states = _states([one.turn for one in batch], False)
        wanted, old = {}, {}
        reward = np.array([one.reward for one in batch])
        for twin in TWINS:
            wanted[f"q_{twin}"] = reward + gamma * following[twin]
            wanted[f"v_{twin}"] = answered[twin]
        for kind in "qv":
            old |= {
                f"{kind}_{twin}": value for twin, value in self._values(self.critic, states, kind, len(batch)).items()
            }
        everywhere = np.ones(len(batch), bool)
        targets = {
            head: Targets(old[head].astype(np.float32), value.astype(np.float32), everywhere)
            for head, value in wanted.items()
        }
        losses = self.learner.update_critic(states, targets, random, epochs=1)
        self.follow(self.own.tau)
        return losses

    def _actor_epoch(
        self, iteration: int, epoch: int, random: np.random.Generator, learning_rate: float
    ) -> dict[str, float]:
        _, fresh = self._drawn(iteration, ACTOR, epoch)
        states = _states(fresh, self.learner.frozen_features)
        q, v = (self._values(self.critic, states, kind, len(fresh)) for kind in "qv")
        advantage = np.minimum(*q.values()) - np.minimum(*v.values())
        if self.algorithm.normalize:
            advantage = standardize(advantage[None], np.ones((1, len(fresh)), bool))[0]
        rows = [_row(turn, one) for turn, one in zip(fresh, advantage, strict=True)]
        if not self.players.exact:
            cap, limit = self.settings.rollout.importance_cap, self.settings.rollout.difference_limit
            trainer = [part.float().cpu().numpy() for part in self.learner.actor_logprobs(rows)]
            require_agreement(mismatch_metrics(rows, trainer, cap), limit)
            rows = corrected_rows(rows, trainer, cap)
        found = self.learner.update_actor(rows, random, learning_rate)
        return found | {"replay/advantage": float(np.abs(advantage).mean())}

    def _drawn(self, iteration: int, kind: int, epoch: int) -> tuple[list[StoredTurn], list[Turn]]:
        """Stored turns, and the same with an answer that the policy gives now."""
        numbers = generator(stream(self.settings, "replay", iteration, kind, epoch))
        batch = [self.moments[i] for i in numbers.integers(len(self.moments), size=self.own.batch_turns)]
        requests = [Request(one.turn.prompt, one.turn.admissible, one.subgoal) for one in batch]
        policy: Any = self.policy
        seed = stream(self.settings, "fresh answers", iteration, kind, epoch)
        if isinstance(policy, RememberingPolicy):
            policy.begin(seed)  # the weights are others than at the last epoch
        self.players.play()
        answers = policy.respond(requests, seed)
        self.players.train()
        return batch, [
            replace(one.turn, generation=answer.generation) for one, answer in zip(batch, answers, strict=True)
        ]

    def _values(self, critic: Critic, states: Sequence[State], kind: str, count: int) -> dict[int, Floats]:
        """What both critics say, [count], by their number; 0 where there is no state."""
        critic.fill_features(states)
        return {twin: critic.values(states, f"{kind}_{twin}", (count, 1, 1))[:, 0] for twin in TWINS}

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """The target networks go to the critic by this share of the way; 1.0: they become it."""
        for kept, trained in zip(self._weights(self.target), self._weights(self.critic), strict=True):
            kept[1].lerp_(trained[1], share)

    def _weights(self, critic: Critic) -> list[tuple[str, Tensor]]:
        found = [(f"heads.{name}", weight.data) for name, weight in critic.heads.named_parameters()]
        if self.learner.own_backbone:
            found += [(f"backbone.{name}", weight.data) for name, weight in critic.backbone.named_parameters()]
        return found

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""
        moments = [
            {
                "turn": packed_turn(one.turn),
                "subgoal": one.subgoal,
                "reward": one.reward,
                "after": None if one.after is None else torch.from_numpy(one.after),
            }
            for one in self.moments
        ]
        return {"moments": moments, "target": {name: weight.cpu() for name, weight in self._weights(self.target)}}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.moments = [
            StoredTurn(
                unpacked_turn(one["turn"]),
                one["subgoal"],
                one["reward"],
                None if one["after"] is None else one["after"].numpy().copy(),
            )
            for one in state["moments"]
        ]
        for name, weight in self._weights(self.target):
            weight.copy_(state["target"][name])


def _states(turns: Sequence[Turn], use_features: bool) -> list[State]:
    return [turn_state(turn, (place, 0), READ, use_features) for place, turn in enumerate(turns)]


def _row(turn: Turn, advantage: float) -> TurnRow:
    prompt, response = generation_of(turn)
    assert turn.generation is not None
    chosen, logprobs = chosen_tokens(turn), turn.generation.logprobs
    dealt = np.full(len(response), advantage, np.float32)
    tokens = np.concatenate([prompt, response])
    return TurnRow(tokens, len(prompt), dealt, chosen.copy(), chosen, logprobs, turn.generation.allowed)


def _means(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in found])) for name in (found[0] if found else {})}
