"""Evaluation on a fixed, enumerated task list: every game of a split once, or the paper's sample with replacement."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.base import Benchmark
from hiper.compose import stage_digest
from hiper.config import RunSettings
from hiper.learning import engine
from hiper.learning.folders import load_decoder
from hiper.locks import exclusive
from hiper.manifest import content_hash, data_hash, verify_outputs
from hiper.policies.local import LocalPolicy, load_tokenizer
from hiper.stages.episodes import episode_record
from hiper.stages.journal import Journal
from hiper.stages.metrics import Progress
from hiper.stages.rollout import Rollout
from hiper.stages.tasks import make_benchmark, stream
from hiper.trajectory import Task, Trajectory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Tasks that are played together: `tasks` of a split from number `first` on, at the temperature of that number."""

    split: str
    temperature: int
    first: int
    tasks: list[Task]


def run(settings: RunSettings, folder: Path, data_root: Path) -> None:
    """Play `folder/model` on every configured split and temperature; write `folder/evaluation.jsonl`.

    Finished batches wait in a journal until all are done: an evaluation that was killed goes on behind them.
    """
    verify_outputs(folder)
    with exclusive(folder):
        device = engine.prepare(settings.engine)
        benchmark = make_benchmark(settings.benchmark, data_root)
        batches = plan(settings, benchmark)
        identity = {
            "settings": stage_digest(settings, "evaluate"),
            "model": content_hash(folder / "model"),
            "data": data_hash(data_root, settings.benchmark.dataset),
        }
        decoder, tokenizer = load_decoder(folder / "model", device), load_tokenizer(folder / "model")
        journal = Journal(folder / "evaluation.unfinished.jsonl", identity)
        progress = Progress("evaluation", sum(len(b.tasks) for b in batches), sum(map(len, journal.parts)))
        if journal.parts:
            log.info("going on after %d of %d episodes", progress.first, progress.total)
        rollouts = []
        for temperature in settings.evaluation.temperatures:
            decoding = settings.decoding.model_copy(update={"temperature": temperature})
            policy = LocalPolicy(
                decoder, tokenizer, decoding, settings.prompt.interface, settings.prompt.max_tokens, device
            )
            rollouts.append(Rollout(benchmark, policy, settings.prompt))
        for batch in batches[len(journal.parts) :]:
            journal.append(_play(settings, rollouts[batch.temperature], batch))
            _show(progress, journal)
        for rollout in rollouts:
            rollout.close()
        journal.finish(folder / "evaluation.jsonl")


def plan(settings: RunSettings, benchmark: Benchmark) -> list[Batch]:
    """All batches of an evaluation, in the order in which they are played: by split, temperature and number."""
    size = settings.evaluation.batch
    found = []
    for split in settings.evaluated_splits:
        tasks = evaluation_tasks(settings, benchmark, split)
        for number in range(len(settings.evaluation.temperatures)):
            found += [Batch(split, number, first, tasks[first : first + size]) for first in range(0, len(tasks), size)]
    return found


def _play(settings: RunSettings, rollout: Rollout, batch: Batch) -> list[dict[str, Any]]:
    seed = stream(settings, "evaluation", batch.temperature, batch.first)
    played = rollout.play(batch.tasks, list(range(len(batch.tasks))), seed)
    temperature = settings.evaluation.temperatures[batch.temperature]
    return [episode_row(trajectory, batch.split, temperature) for trajectory in played]


def _show(progress: Progress, journal: Journal) -> None:
    last = journal.parts[-1][0]
    place = (last["split"], last["temperature"])
    rows = [row for part in journal.parts for row in part if (row["split"], row["temperature"]) == place]
    done = sum(map(len, journal.parts))
    progress.show(done, f"{place[0]} T={place[1]:g}: {sum(row['won'] for row in rows)}/{len(rows)} won")


def evaluation_tasks(settings: RunSettings, benchmark: Benchmark, split: str) -> list[Task]:
    """The task list of an evaluation split: all of it once, or `episodes` seeded draws with replacement."""
    tasks = list(benchmark.tasks(settings.benchmark.splits.named(split)))
    if settings.evaluation.protocol == "exhaustive":
        return tasks
    assert settings.evaluation.episodes is not None
    draws = np.random.default_rng(stream(settings, "evaluation")).integers(
        len(tasks), size=settings.evaluation.episodes
    )
    return [tasks[i] for i in draws]


def episode_row(trajectory: Trajectory, split: str, temperature: float) -> dict[str, Any]:
    """One line of `evaluation.jsonl`: where it was played, the outcome, and every turn."""
    return {"split": split, "temperature": temperature, **episode_record(trajectory)}
