"""What a critic and an algorithm make of a rollout batch: values at the states that are read, credit, targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hiper.algorithms.interface import AlgorithmSettings, Bools, Credit, Floats, require_credit
from hiper.algorithms.registry import ALGORITHMS
from hiper.algorithms.unexplained import Unexplained
from hiper.learning.batches import turn_arrays
from hiper.learning.critic import Critic, State, bootstrap_states, previous_subgoal_states, turn_state
from hiper.learning.learner import Targets
from hiper.plan_execute import continued, render
from hiper.policies.model_policy import ModelPolicy
from hiper.runs.summary import ReadOuts, explained
from hiper.trajectory import Trajectory


@dataclass(frozen=True)
class Assessment:
    """`states` of the turns, for the critic's update; `values` of each head `[trajectory, turn + 1]`, or `[trajectory,
    turn + 1, token]` of one that is read at every token; the `credit` that follows; with `lam_boundary: auto` what
    V_high leaves `unexplained`, earlier batches included; with `training.critic.gate` whether each head was `gated`,
    else nothing."""

    states: list[State]
    values: dict[str, Floats]
    credit: Credit
    unexplained: Unexplained | None = None
    gated: Mapping[str, bool] = field(default_factory=dict)

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

    def of_returns(self) -> Assessment:
        """The same with Monte-Carlo returns as every head's targets."""
        returns, targets = self.credit.returns, self.credit.targets
        assert returns is not None  # require_credit has seen to it
        monte_carlo = {head: (_stood_for(returns, mask), mask) for head, (_, mask) in targets.items()}
        return replace(self, credit=replace(self.credit, targets=monte_carlo))

    def read(self) -> dict[str, ReadOuts]:
        """Every head's, by name."""
        return read_outs(self.credit, self.values)


def read_outs(credit: Credit, values: Mapping[str, Floats]) -> dict[str, ReadOuts]:
    """What each head of `credit.targets` said, was to say, and stands for."""
    found, returns = {}, credit.returns
    for head, (target, mask) in credit.targets.items():
        assert returns is not None  # require_credit has seen to it
        found[head] = ReadOuts(values[head][:, : target.shape[1]][mask], target[mask], _stood_for(returns, mask)[mask])
    return found


def _stood_for(returns: Floats, mask: Bools) -> Floats:
    """The return of its turn for every read-out of `mask`, [trajectory, turn] or [trajectory, turn, token]."""
    return np.broadcast_to(returns if mask.ndim == returns.ndim else returns[:, :, None], mask.shape)


def gated_values(
    values: Mapping[str, Floats], read: Mapping[str, ReadOuts]
) -> tuple[dict[str, Floats], dict[str, bool]]:
    """The values that credit is to be given by, and of each head whether it was gated: where its explained variance
    against Monte-Carlo returns is negative, the batch's mean return stands everywhere in place of its values (EVPO,
    arXiv 2604.19485): as baseline, as bootstrap, and in what follows from them, the targets. A constant does not depend
    on what was chosen, so the gradient stays as unbiased as it was, but for the share of an episode in the mean."""
    used, gated = dict(values), {}
    for head, one in read.items():
        gated[head] = explained(one.returns, one.values) < 0.0
        for name in (head, f"{head}_previous") if gated[head] else ():
            if name in values:
                used[name] = np.full(values[name].shape, one.returns.mean())
    return used, gated


class Assessor:
    """An algorithm with its critic. `frozen_features`: the critic reads the sampler's hidden states where it can;
    `gate`: values that explain less than nothing are no baseline. `unexplained` is what it remembers of the batches
    given to `remember`."""

    def __init__(
        self, settings: AlgorithmSettings, critic: Critic, policy: ModelPolicy, frozen_features: bool, gate: bool
    ) -> None:
        self.settings, self.critic, self.policy, self.frozen_features = settings, critic, policy, frozen_features
        self.algorithm, self.gate = ALGORITHMS[settings.name], gate
        self.unexplained = Unexplained()

    def assess(self, trajectories: Sequence[Trajectory]) -> Assessment:
        """Values and credit of whole episodes, each of at least one turn; UserError where the credit does not fit."""
        turns = turn_arrays(trajectories)
        states, values = self._values(trajectories, turns.chosen.shape[2])
        settings = self.settings
        if (unexplained := self.algorithm.unexplained(turns, values, settings)) is not None:
            unexplained = self.unexplained.then(unexplained)
            settings = settings.model_copy(update={"lam_boundary": unexplained.share})
        credit = self.algorithm.credit(turns, values, settings)
        require_credit(credit, turns, self.critic.read_outs, settings.name)
        gated: dict[str, bool] = {}
        if self.gate:
            baselines, gated = gated_values(values, read_outs(credit, values))
            if any(gated.values()):
                credit = self.algorithm.credit(turns, baselines, settings)
        return Assessment(states, values, credit, unexplained, gated)

    def remember(self, assessed: Assessment) -> dict[str, float]:
        """Let the batches that come build on this one; the metrics of what is remembered, and of the gate."""
        found = {f"critic/gated_{head}": float(acted) for head, acted in assessed.gated.items()}
        if assessed.unexplained is not None:
            self.unexplained = assessed.unexplained
            found["critic/lam_boundary"] = self.unexplained.share
        return found

    def _values(self, trajectories: Sequence[Trajectory], tokens: int) -> tuple[list[State], dict[str, Floats]]:
        read_outs = sorted(set(self.critic.read_outs.values()))
        shape = (len(trajectories), max(len(t.turns) for t in trajectories) + 1, tokens)
        states = [
            turn_state(turn, (i, t), read_outs, self.frozen_features)
            for i, trajectory in enumerate(trajectories)
            for t, turn in enumerate(trajectory.turns)
        ]
        further = []
        if self.algorithm.bootstraps(self.settings):
            further = bootstrap_states(trajectories, self.policy.encode_prompt, self._encode_kept, read_outs)
        self.critic.fill_features(states + further)
        values = {head: self.critic.values(states + further, head, shape) for head in self.critic.read_outs}
        if heads := self.algorithm.previous(self.settings):
            previous = previous_subgoal_states(trajectories, self._encode_kept, read_outs)
            self.critic.fill_features(previous)
            values |= {f"{head}_previous": self.critic.values(previous, head, shape) for head in heads}
        return states, values

    def _encode_kept(self, subgoal: str | None) -> np.ndarray:
        """Tokens of an answer that keeps `subgoal`, up to the end of the subgoal block; no subgoal is called None, as
        in prompts."""
        answer = continued(render(False, subgoal or "None", ""), self.policy.thinking)
        text = answer[: answer.index("</subgoal>") + len("</subgoal>")]
        return self.policy.encode_answer(text)
