"""What a critic and an algorithm make of a rollout batch: values at the states that are read, credit, targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiper.algorithms.interface import Credit, Floats, require_credit
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.unexplained import Unexplained
from hiper.config import Algorithm
from hiper.learning.batches import turn_arrays
from hiper.learning.critic import Critic, State, bootstrap_states, previous_subgoal_states, turn_state
from hiper.learning.learner import Targets
from hiper.plan_execute import continued, render
from hiper.policies.model_policy import ModelPolicy
from hiper.runs.summary import ReadOuts
from hiper.trajectory import Trajectory


@dataclass(frozen=True)
class Assessment:
    """`states` of the turns, for the critic's update; `values` of each head `[trajectory, turn + 1]`, or `[trajectory,
    turn + 1, token]` of one that is read at every token; the `credit` that follows; with `lam_boundary: auto` what
    V_high leaves `unexplained`, earlier batches included."""

    states: list[State]
    values: dict[str, Floats]
    credit: Credit
    unexplained: Unexplained | None = None

    def targets(self) -> dict[str, Targets]:
        """Each head's old values, targets and mask in the order of `states`, [states] or [states, token]."""
        rows, columns = np.array([state.place for state in self.states]).T
        return {
            head: Targets(
                old=self.values[head][rows, columns].astype(np.float32),
                target=target[rows, columns].astype(np.float32),
                mask=mask[rows, columns],
            )
            for head, (target, mask) in self.credit.targets.items()
        }

    def read(self) -> dict[str, ReadOuts]:
        """Every head's, by name."""
        found, returns = {}, self.credit.returns
        for head, (target, mask) in self.credit.targets.items():
            assert returns is not None  # require_credit has seen to it
            stood_for = np.broadcast_to(returns if mask.ndim == returns.ndim else returns[:, :, None], mask.shape)
            found[head] = ReadOuts(self.values[head][:, : target.shape[1]][mask], target[mask], stood_for[mask])
        return found


class Assessor:
    """An algorithm with its critic. `frozen_features`: the critic reads the sampler's hidden states where it can.
    `unexplained` is what it remembers of the batches given to `remember`."""

    def __init__(self, algorithm: Algorithm, critic: Critic, policy: ModelPolicy, frozen_features: bool) -> None:
        self.algorithm, self.critic, self.policy, self.frozen_features = algorithm, critic, policy, frozen_features
        self.unexplained = Unexplained()

    def assess(self, trajectories: Sequence[Trajectory]) -> Assessment:
        """Values and credit of whole episodes, each of at least one turn; UserError where the credit does not fit."""
        turns = turn_arrays(trajectories)
        states, values = self._values(trajectories, turns.chosen.shape[2])
        algorithm, estimator, unexplained = self.algorithm, ALGORITHMS[self.algorithm.name], None
        if algorithm.lam_boundary == "auto" and estimator.unexplained is not None:
            unexplained = self.unexplained.then(estimator.unexplained(turns, values, algorithm))
            algorithm = algorithm.model_copy(update={"lam_boundary": unexplained.share})
        credit = estimator.credit(turns, values, algorithm)
        require_credit(credit, turns, self.critic.read_outs, self.algorithm.name)
        return Assessment(states, values, credit, unexplained)

    def remember(self, assessed: Assessment) -> dict[str, float]:
        """Let the batches that come build on this one; the metrics of what is remembered."""
        if assessed.unexplained is None:
            return {}
        self.unexplained = assessed.unexplained
        return {"critic/lam_boundary": self.unexplained.share}

    def _values(self, trajectories: Sequence[Trajectory], tokens: int) -> tuple[list[State], dict[str, Floats]]:
        read_outs = sorted(set(self.critic.read_outs.values()))
        shape = (len(trajectories), max(len(t.turns) for t in trajectories) + 1, tokens)
        states = [
            turn_state(turn, (i, t), read_outs, self.frozen_features)
            for i, trajectory in enumerate(trajectories)
            for t, turn in enumerate(trajectory.turns)
        ]
        further = []
        if self.algorithm.bootstrap_truncated:
            further = bootstrap_states(trajectories, self.policy.encode_prompt, self._encode_kept, read_outs)
        self.critic.fill_features(states + further)
        values = {head: self.critic.values(states + further, head, shape) for head in self.critic.read_outs}
        if self.algorithm.switch_advantage == "paper" and "low" in self.critic.read_outs:
            previous = previous_subgoal_states(trajectories, self._encode_kept, read_outs)
            self.critic.fill_features(previous)
            values["low_previous"] = self.critic.values(previous, "low", shape)
        return states, values

    def _encode_kept(self, subgoal: str | None) -> np.ndarray:
        """Tokens of an answer that keeps `subgoal`, up to the end of the subgoal block; no subgoal is called None, as
        in prompts."""
        answer = continued(render(False, subgoal or "None", ""), self.policy.thinking)
        text = answer[: answer.index("</subgoal>") + len("</subgoal>")]
        return np.asarray(self.policy.tokenizer.encode(text, add_special_tokens=False), dtype=np.int32)
