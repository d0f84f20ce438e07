"""A run trained by several processes: who plays which episodes, and who writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hiper.benchmarks.base import Benchmark
from hiper.config import Prompt, RunSettings
from hiper.learning.processes import Processes
from hiper.locks import exclusive
from hiper.policies.base import Policy
from hiper.stages.rollout import Rollout, Watch
from hiper.trajectory import Task, Trajectory, Turn, without_features


@contextmanager
def written_by_first(folder: Path, processes: Processes) -> Iterator[None]:
    """The first process is the only writer of `folder`, for all; UserError that says who is, if another."""
    if processes.first:
        with exclusive(folder):
            processes.wait()
            yield
    else:
        processes.wait()
        yield


class SharedRollout(Rollout):
    """Each process plays a share of the groups, and gets the episodes of all.

    Hidden states stay behind; who needs those of another's episodes computes them. With several processes each has
    random numbers of its own, so other episodes are played than by one.
    """

    def __init__(self, benchmark: Benchmark, policy: Policy, prompt: Prompt, processes: Processes) -> None:
        super().__init__(benchmark, policy, prompt)
        self.processes = processes

    def play(
        self,
        tasks: Sequence[Task],
        groups: Sequence[int],
        seed: Sequence[int],
        watch: Watch | None = None,
        blueprints: Sequence[Turn | None] | None = None,
    ) -> list[Trajectory]:
        if self.processes.size == 1:
            return super().play(tasks, groups, seed, watch, blueprints)
        share = self._share(groups)
        played = super().play(
            [tasks[number] for number in share],
            [groups[number] for number in share],
            [*seed, self.processes.rank],
            watch,
            None if blueprints is None else [blueprints[number] for number in share],
        )
        return self.processes.gathered([replace(one, turns=tuple(map(without_features, one.turns))) for one in played])

    def plan(self, tasks: Sequence[Task], groups: Sequence[int], seed: Sequence[int]) -> list[Turn | None]:
        if self.processes.size == 1:
            return super().plan(tasks, groups, seed)
        share = self._share(groups)
        planned = super().plan(
            [tasks[number] for number in share],
            [groups[number] for number in share],
            [*seed, self.processes.rank],
        )
        return self.processes.gathered([None if turn is None else without_features(turn) for turn in planned])

    def _share(self, groups: Sequence[int]) -> list[int]:
        """Which episodes this process plays."""
        draws = list(dict.fromkeys(groups))
        mine = {draws[place] for place in self.processes.block(len(draws))}
        return [number for number, group in enumerate(groups) if group in mine]


def resumable_by(settings: RunSettings) -> RunSettings:
    """The settings as far as a checkpoint depends on them: how a model is shared out, and over how many processes, may
    be another when its training goes on."""
    alike = {"gpus": 1, "nodes": 1, "zero_stage": min(1, settings.engine.zero_stage)}
    alike |= {"offload_optimizer": False, "gradient_checkpointing": False}
    return settings.model_copy(update={"engine": settings.engine.model_copy(update=alike)})
