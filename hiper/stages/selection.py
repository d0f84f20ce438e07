"""Model selection: which model of a run is its best, by tasks that no table reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.stages.rollout import Rollout
from hiper.stages.tasks import stream
from hiper.trajectory import Task

FOLDER = "best"  # the best model, beside `model`, the last one


@dataclass(frozen=True)
class Best:
    """The best model so far: the number of its iteration, and its success on the validation tasks."""

    iteration: int
    success: float


class ModelSelection:
    """Plays the validation tasks every so many iterations, each time with the same random numbers, and remembers the
    best model; of equally good ones the earliest."""

    def __init__(self, settings: RunSettings, rollout: Rollout, tasks: Sequence[Task]) -> None:
        self.settings, self.rollout, self.tasks = settings, rollout, list(tasks)
        self.best: Best | None = None

    def due(self, iteration: int, last: bool) -> bool:
        """Is the model after this iteration (from 1 on) to be looked at? The last one always is."""
        return bool(self.tasks) and (last or iteration % self.settings.training.validation.every == 0)

    def measure(self, iteration: int) -> dict[str, float]:
        """Play the tasks with the model as it is now; returns metrics. `best` is then of this iteration if no earlier
        model won as much."""
        played = self.rollout.play(self.tasks, range(len(self.tasks)), stream(self.settings, "validation"))
        if all(trajectory.failure is not None for trajectory in played):
            raise UserError(
                f"iteration {iteration}: every validation episode broke, the first with: {played[0].failure}"
            )
        success = float(np.mean([trajectory.won for trajectory in played]))
        score = float(np.mean([trajectory.info.get("score", 0.0) for trajectory in played]))
        if self.best is None or success > self.best.success:
            self.best = Best(iteration, success)
        found = {"validation/success": success, "validation/score": score}
        won: dict[str, list[bool]] = {}
        for trajectory in played:
            won.setdefault(trajectory.task.task_type, []).append(trajectory.won)
        by_type = {f"validation/success/{name}": float(np.mean(won[name])) for name in sorted(won)}
        return found | (by_type if len(won) > 1 else {})

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {} if self.best is None else asdict(self.best)

    def restore(self, state: dict[str, Any]) -> None:
        self.best = Best(**state) if state else None

    def close(self) -> None:
        self.rollout.close()
