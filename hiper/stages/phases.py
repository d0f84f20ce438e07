"""Plans and their executions in turns: the phases of HiMAC (`hiper.algorithms.sampling`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np

from hiper.config import RunSettings
from hiper.learning.batches import TurnRow
from hiper.stages.replay import packed_turn, unpacked_turn
from hiper.stages.sampling import EpisodeSampling, Sampled, by_group, usable
from hiper.stages.tasks import draw_tasks, stream
from hiper.trajectory import Task, Trajectory, Turn, without_features

Plan = Callable[[Sequence[Task], Sequence[int], Sequence[int]], list[Turn | None]]
"""`Rollout.plan` with the policy as it is now."""


class Execute(Protocol):
    """`Rollout.play` of given plans, by the policy as it is now or by its likeliest answers."""

    def __call__(
        self,
        tasks: Sequence[Task],
        groups: Sequence[int],
        seed: Sequence[int],
        blueprints: Sequence[Turn | None] | None = None,
        greedy: bool = False,
    ) -> list[Trajectory]: ...


class PhasedSampling(EpisodeSampling):
    """`best` holds, between an iteration of plans and that of their executions, each group's task and its best plan; it
    is empty before an iteration of plans."""

    def __init__(self, settings: RunSettings, tasks: Sequence[Task], play: Execute, plan: Plan) -> None:
        super().__init__(settings, tasks, play)
        self.execute, self.plan = play, plan
        self.best: list[tuple[Task, Turn]] = []

    def _played(self, iteration: int, spent: int) -> Sampled:
        draws = self.draws(iteration, spent)
        seed, what = stream(self.settings, "rollout", iteration), f"iteration {iteration + 1}"
        if self.best:
            # there may be a group more than in the iteration before, or fewer at the end of the budget
            followed = [self.best[place % len(self.best)] for place in range(len(draws))]
            groups = [group for group in range(len(draws)) for _ in range(self.settings.algorithm.group_size)]
            tasks, plans = ([followed[group][part] for group in groups] for part in (0, 1))
            played = self.execute(tasks, groups, seed, plans)
            self.best = []
            return Sampled(played, usable(played, what), {"train/planning": 0.0}, given=True)
        tasks, groups = draw_tasks(self.tasks, self.settings, draws)
        planned = self.plan(tasks, groups, seed)
        played = self.execute(tasks, groups, stream(self.settings, "execution", iteration), planned, greedy=True)
        trajectories = usable(played, what)
        found = [group for group in by_group(trajectories, range(len(draws))) if group]
        best = [max(group, key=lambda one: one.earned) for group in found]
        self.best = [(one.task, without_features(one.turns[0])) for one in best]
        return Sampled(played, trajectories, {"train/planning": 1.0})

    def learned(self, rows: Sequence[TurnRow], sampled: Sampled) -> list[TurnRow]:
        """Trained are the tokens of plans, or all others."""
        planning = bool(sampled.metrics["train/planning"])
        first = [turn == 0 for one in sampled.trajectories for turn in range(len(one.turns))]
        return [
            row if plan == planning else replace(row, trained=np.zeros_like(row.trained))
            for row, plan in zip(rows, first, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        best = [{"task": asdict(task), "plan": packed_turn(plan)} for task, plan in self.best]
        return {**super().state(), "best": best}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.best = [(Task(**one["task"]), unpacked_turn(one["plan"])) for one in state["best"]]
