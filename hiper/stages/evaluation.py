"""Evaluation on a fixed, enumerated task list: every game of a split once, or the paper's sample with replacement."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.record import make_benchmark
from hiper.config import RunSettings
from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.learning import torch_setup
from hiper.locks import exclusive
from hiper.manifest import (
    EVALUATION,
    EVALUATION_MANIFEST,
    content_hash,
    require_data,
    require_unchanged,
    verify_outputs,
    write_manifest,
)
from hiper.policies.backend import Players
from hiper.policies.backends import make_backend
from hiper.randomness import generator
from hiper.runs.episodes import episode_record
from hiper.runs.journal import Journal
from hiper.runs.metrics import Progress
from hiper.stages.rollout import Rollout
from hiper.stages.selection import FOLDER as BEST
from hiper.stages.tasks import stream
from hiper.trajectory import Task, Trajectory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Tasks that are played together: `tasks` of a split from number `first` on, by the model that `checkpoint` names,
    at the temperature of that number."""

    checkpoint: str
    split: str
    protocol: str
    temperature: int
    first: int
    tasks: list[Task]

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What two models play alike has the same place."""
        return self.split, self.protocol, self.temperature, self.first


def run(settings: RunSettings, folder: Path, data_root: Path) -> None:
    """Play the run's models on every configured split, protocol and temperature; write `folder/evaluation.json`, what
    made them, and `folder/evaluation.jsonl`, the episodes.

    Finished batches wait in a journal until all are done: an evaluation that was killed goes on behind them.
    """
    started = time.monotonic()
    verify_outputs(folder)
    data = require_data(folder, data_root, settings.benchmark.dataset)
    with exclusive(folder):
        device = torch_setup.prepare(settings.engine)
        benchmark = make_benchmark(settings.benchmark, data_root)
        models = _models(settings, folder)
        batches = plan(settings, benchmark, list(models))
        identity = {
            "settings": stage_digest(settings, "evaluate"),
            "models": {name: content_hash(path) for name, path in models.items()},
            "data": data,
        }
        journal = Journal(folder / "evaluation.unfinished.jsonl", identity)
        progress = Progress("evaluation", sum(len(b.tasks) for b in batches), sum(map(len, journal.parts)))
        if journal.parts:
            log.info("going on after %d of %d episodes", progress.first, progress.total)
        left, backend = batches[len(journal.parts) :], make_backend(settings, device)
        for name, path in models.items():
            part = [batch for batch in left if batch.checkpoint == name]
            if name != "last" and identity["models"][name] == identity["models"].get("last"):
                _copy(journal, batches, part)
            elif part:
                _play(settings, _rollouts(settings, benchmark, backend.finished(path)), part, journal, progress)
        try:
            require_unchanged(data, data_root, settings.benchmark.dataset)
        except UserError:
            journal.path.unlink()  # nobody knows which episodes are of which data
            raise
        facts = {"episodes": journal.digest()}
        write_manifest(folder, settings, data_root, models, started, facts=facts, name=EVALUATION_MANIFEST, data=data)
        journal.finish(folder / EVALUATION)


def _models(settings: RunSettings, folder: Path) -> dict[str, Path]:
    """The model folders to be played, by checkpoint. Only a run that was validated has a best one; of another, such as
    a warm start, the last is played in any case."""
    if not (folder / BEST).is_dir():
        return {"last": folder / "model"}
    folders = {"last": folder / "model", "best": folder / BEST}
    return {name: folders[name] for name in settings.evaluation.checkpoints}


def _rollouts(settings: RunSettings, benchmark: Benchmark, players: Players) -> list[Rollout]:
    """A player of the model for each temperature."""
    policies = [players.policy(temperature) for temperature in settings.evaluation.temperatures]
    return [Rollout(benchmark, policy, settings.prompt) for policy in policies]


def plan(settings: RunSettings, benchmark: Benchmark, checkpoints: Sequence[str]) -> list[Batch]:
    """All batches of an evaluation, in the order in which they are played."""
    size = settings.evaluation.batch
    found = []
    for checkpoint in checkpoints:
        for split, protocol in product(settings.evaluated_splits, settings.evaluation.protocols):
            tasks = evaluation_tasks(settings, benchmark, split, protocol)
            for number, first in product(range(len(settings.evaluation.temperatures)), range(0, len(tasks), size)):
                found.append(Batch(checkpoint, split, protocol, number, first, tasks[first : first + size]))
    return found


def _play(
    settings: RunSettings,
    rollouts: Sequence[Rollout],
    batches: Sequence[Batch],
    journal: Journal,
    progress: Progress,
) -> None:
    """Every model meets the same random numbers."""
    for batch in batches:
        numbers = [_number(batch.split), batch.temperature, batch.first, int(batch.protocol == "sampled")]
        seed = stream(settings, "evaluation", *numbers)
        played = rollouts[batch.temperature].play(batch.tasks, range(len(batch.tasks)), seed)
        temperature = settings.evaluation.temperatures[batch.temperature]
        journal.append([episode_row(trajectory, batch, temperature) for trajectory in played])
        _show(progress, journal)
    for rollout in rollouts:
        rollout.close()


def _copy(journal: Journal, batches: Sequence[Batch], part: Sequence[Batch]) -> None:
    """The best model is the last one: its episodes are those that were just played."""
    played = {batch.place: rows for batch, rows in zip(batches, journal.parts, strict=False)}
    for batch in part:
        journal.append([{**row, "checkpoint": batch.checkpoint} for row in played[batch.place]])


def _show(progress: Progress, journal: Journal) -> None:
    keys = ("checkpoint", "split", "protocol", "temperature")
    place = [journal.parts[-1][0][key] for key in keys]
    rows = [row for part in journal.parts for row in part if [row[key] for key in keys] == place]
    done = sum(map(len, journal.parts))
    checkpoint, split, protocol, temperature = place
    won = sum(row["won"] for row in rows)
    progress.show(done, f"{checkpoint} model, {split} {protocol} T={temperature:g}: {won}/{len(rows)} won")


def evaluation_tasks(settings: RunSettings, benchmark: Benchmark, split: str, protocol: str) -> list[Task]:
    """The task list of an evaluation split: all of it once, or seeded draws with replacement."""
    tasks = list(benchmark.tasks(settings.benchmark.splits.named(split)))
    if protocol == "exhaustive":
        return tasks
    random = generator(stream(settings, "evaluation", _number(split)))
    return [tasks[i] for i in random.integers(len(tasks), size=settings.evaluation.sampled_episodes)]


def _number(split: str) -> int:
    """What tells the random numbers of one split from another's, whatever else is evaluated."""
    return zlib.crc32(split.encode())


def episode_row(trajectory: Trajectory, batch: Batch, temperature: float) -> dict[str, Any]:
    """One line of `evaluation.jsonl`: by which model, where and how it was played, the outcome, and every turn."""
    place = {"checkpoint": batch.checkpoint, "split": batch.split, "protocol": batch.protocol}
    return {**place, "temperature": temperature, **episode_record(trajectory)}
