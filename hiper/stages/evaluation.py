"""Evaluation on a fixed, enumerated task list: every game of a split once, or the paper's sample with replacement."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.base import Benchmark
from hiper.config import RunSettings
from hiper.learning import engine
from hiper.learning.folders import load_decoder
from hiper.policies.local import LocalPolicy, load_tokenizer
from hiper.records import write_jsonl
from hiper.stages.metrics import Progress
from hiper.stages.rollout import Rollout
from hiper.stages.summary import segments
from hiper.stages.tasks import make_benchmark, stream
from hiper.trajectory import Task, Trajectory

log = logging.getLogger(__name__)


def run(settings: RunSettings, folder: Path, data_root: Path) -> None:
    """Play `folder/model` on every configured split and temperature; write `folder/evaluation.jsonl`."""
    device = engine.prepare(settings.engine)
    benchmark = make_benchmark(settings.benchmark, data_root)
    decoder, tokenizer = load_decoder(folder / "model", device), load_tokenizer(folder / "model")
    evaluation = settings.evaluation
    parts = [(split, t) for split in evaluation.splits for t in range(len(evaluation.temperatures))]
    total = sum(len(evaluation_tasks(settings, benchmark, split)) for split, _ in parts)
    progress, rows = Progress("evaluation", total, 0), []
    for split, number in parts:
        temperature = evaluation.temperatures[number]
        decoding = settings.decoding.model_copy(update={"temperature": temperature})
        policy = LocalPolicy(
            decoder, tokenizer, decoding, settings.prompt.interface, settings.prompt.max_tokens, device
        )
        rollout = Rollout(benchmark, policy, settings.prompt)
        tasks = evaluation_tasks(settings, benchmark, split)
        won = 0
        for first in range(0, len(tasks), evaluation.batch):
            batch = tasks[first : first + evaluation.batch]
            seed = stream(settings, "evaluation", number, first)
            played = rollout.play(batch, list(range(len(batch))), seed)
            rows += [episode_row(trajectory, split, temperature) for trajectory in played]
            won += sum(t.won for t in played)
            progress.show(len(rows), f"{split} T={temperature:g}: {won}/{min(len(tasks), first + len(batch))} won")
        rollout.close()
    write_jsonl(folder / "evaluation.jsonl", rows)


def evaluation_tasks(settings: RunSettings, benchmark: Benchmark, split: str) -> list[Task]:
    """The task list of a split ("seen" or "unseen"): all of it once, or `episodes` seeded draws with replacement."""
    tasks = list(benchmark.tasks(getattr(settings.benchmark.splits, split)))
    if settings.evaluation.protocol == "exhaustive":
        return tasks
    assert settings.evaluation.episodes is not None
    draws = np.random.default_rng(stream(settings, "evaluation")).integers(
        len(tasks), size=settings.evaluation.episodes
    )
    return [tasks[i] for i in draws]


def episode_row(trajectory: Trajectory, split: str, temperature: float) -> dict[str, Any]:
    """One line of `evaluation.jsonl`: the outcome and what the agent decided, turn by turn."""
    turns = trajectory.turns
    return {
        "task": trajectory.task.id,
        "task_type": trajectory.task.task_type,
        "split": split,
        "temperature": temperature,
        "won": trajectory.won,
        "score": trajectory.info["score"],
        "turns": len(turns),
        "switches": sum(turn.switch for turn in turns),
        "segments": segments(trajectory),
        "valid_turns": sum(turn.valid for turn in turns),
        "tokens": sum(len(turn.generation.response_tokens) for turn in turns if turn.generation is not None),
        "truncated": trajectory.truncated,
        "failure": trajectory.failure,
        "decisions": [[turn.switch, turn.subgoal, turn.action] for turn in turns],
    }
