"""The episodes of each iteration: which tasks are drawn, within the budget, and what of what was played is learned
from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hiper.algorithms.sampling import agrees, sampling_of
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning.batches import TurnRow
from hiper.stages.replay import Memory, replayed_rows
from hiper.stages.tasks import all_draws, draw_tasks, draws_of, stream
from hiper.trajectory import Task, Trajectory

Play = Callable[[Sequence[Task], Sequence[int], Sequence[int]], list[Trajectory]]
"""`Rollout.play` with the policy as it is now: tasks, numbers of their groups, seed."""


@dataclass(frozen=True)
class Sampled:
    """An iteration's episodes: all that were `played`; the `trajectories` of them to learn from, group by group; others
    from before that are `replayed` with their groups; its `metrics`. `given`: the first turn of each is a plan that an
    earlier iteration wrote, once for a group."""

    played: list[Trajectory]
    trajectories: list[Trajectory]
    metrics: dict[str, float]
    replayed: list[Trajectory] = field(default_factory=list)
    given: bool = False

    @property
    def own(self) -> list[Trajectory]:
        """What was played, without the turns of earlier iterations: what this one has cost."""
        return [replace(one, turns=one.turns[1:]) for one in self.played] if self.given else self.played


class EpisodeSampling:
    """Plays what iterations learn from. `resampled` counts the draws, of all iterations so far, that came in place of
    groups which agree: with the number of iterations done it says which draws come next, so that a resumed run goes on
    with them. `memory` holds what may be replayed."""

    def __init__(self, settings: RunSettings, tasks: Sequence[Task], play: Play) -> None:
        self.settings, self.tasks, self.play = settings, tasks, play
        self.sampling = sampling_of(settings.algorithm)
        self.resampled = 0
        replay = None if self.sampling is None else self.sampling.replay
        self.memory = None if replay is None or not (replay.successes or replay.failures) else Memory(replay)

    def draws(self, iteration: int, spent: int) -> range:
        """Those of an iteration that comes next, after `spent` episodes of pretraining; none when the budget is
        spent."""
        return draws_of(self.settings, iteration, spent, self.resampled)

    def skipped(self, spent: int) -> float:
        """Resampled draws, in iterations."""
        return self.resampled * self.settings.training.iterations / all_draws(self.settings, spent)

    def sample(self, iteration: int, spent: int) -> Sampled:
        """The episodes of an iteration; UserError if none can be learned from."""
        sampled = self._played(iteration, spent)
        if self.memory is None:
            return sampled
        replayed = self.memory.joining(sampled.trajectories)
        self.memory.remember(sampled.trajectories)
        metrics = sampled.metrics | {"train/replayed": float(len(replayed))}
        return replace(sampled, replayed=replayed, metrics=metrics)

    def _played(self, iteration: int, spent: int) -> Sampled:
        draws = self.draws(iteration, spent)
        tasks, groups = draw_tasks(self.tasks, self.settings, draws)
        played = self.play(tasks, groups, stream(self.settings, "rollout", iteration))
        trajectories = usable(played, f"iteration {iteration + 1}")
        if self.sampling is None or not self.sampling.resample:
            return Sampled(played, trajectories, {})
        return self._resampled(iteration, draws, all_draws(self.settings, spent), played, trajectories)

    def _resampled(
        self, iteration: int, draws: range, end: int, played: list[Trajectory], trajectories: list[Trajectory]
    ) -> Sampled:
        """A group that agrees gives its place to one that does not, in the order in which they were drawn; those that
        still agree after the last round, or at the end of the budget, stay."""
        assert self.sampling is not None
        places, first = by_group(trajectories, range(len(draws))), len(draws)
        for attempt in range(self.sampling.resample):
            agreeing = [place for place, group in enumerate(places) if agrees([t.earned for t in group])]
            further = range(draws.stop, min(draws.stop + len(agreeing), end))
            if not further:
                break
            draws = range(draws.start, further.stop)
            numbers = range(len(draws) - len(further), len(draws))
            tasks, groups = draw_tasks(self.tasks, self.settings, further, first=numbers.start)
            again = self.play(tasks, groups, stream(self.settings, "resampling", iteration, attempt))
            played = played + again
            found = [group for group in by_group(_whole(again), numbers) if not agrees([t.earned for t in group])]
            for place, group in zip(agreeing, found, strict=False):
                places[place] = group
        self.resampled += len(draws) - first
        learned = [trajectory for group in places for trajectory in group]
        return Sampled(played, learned, {"train/resampled": float(len(draws) - first)})

    def weighed(self, rows: Sequence[TurnRow], importance: bool) -> list[TurnRow]:
        """Those of replayed episodes, as the policy learns from them; `importance`: with importance weights, as all
        others have."""
        return [] if self.memory is None else replayed_rows(rows, self.memory.settings.weight, importance)

    def learned(self, rows: Sequence[TurnRow], sampled: Sampled) -> list[TurnRow]:
        """The rows of the iteration's episodes, in order, as the policy learns from them."""
        return [*rows]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"resampled": self.resampled, "memory": [] if self.memory is None else self.memory.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.resampled = state["resampled"]
        if self.memory is not None:
            self.memory.restore(state["memory"])


def usable(played: Sequence[Trajectory], what: str) -> list[Trajectory]:
    """The episodes that can be learned from; UserError if there is none. `what` they are for."""
    trajectories = _whole(played)
    if not trajectories:
        raise UserError(f"{what}: every episode broke, the first with: {played[0].failure}")
    return trajectories


def _whole(played: Iterable[Trajectory]) -> list[Trajectory]:
    return [trajectory for trajectory in played if trajectory.failure is None and trajectory.turns]


def by_group(trajectories: Sequence[Trajectory], numbers: Iterable[int]) -> list[list[Trajectory]]:
    """The episodes of each of these groups."""
    return [[one for one in trajectories if one.group == number] for number in numbers]
