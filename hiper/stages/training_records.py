"""What training writes while it goes on: a row of metrics and some episodes per iteration, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiper.records import append_jsonl
from hiper.runs import episodes
from hiper.runs.metrics import MetricsLog, Progress, resume_rows


class TrainingRecords:
    """The files of a run of at most `total` iterations, of which `keep` are done; rows of later ones are dropped."""

    def __init__(self, folder: Path, total: int, keep: int) -> None:
        self.episodes = folder / episodes.EPISODES
        self.metrics = MetricsLog(folder, "iteration", keep)
        resume_rows(self.episodes, "iteration", keep)
        self.progress = Progress("training", total, keep)

    def add(self, row: dict[str, Any], timings: dict[str, float], played: Sequence[dict[str, Any]]) -> None:
        """One iteration: its metrics, how long each part took, and some of its episodes."""
        for record in played:
            append_jsonl(self.episodes, record)
        self.metrics.write(row, timings)
        success, turns = row["train/success"], row["train/turns"]
        self.progress.show(row["iteration"], f"success {success:.2f}  turns {turns:.1f}")

    def complete(self, done: int) -> None:
        """UserError unless each of the iterations, `done` in all, has its row."""
        self.metrics.require(range(1, done + 1))
