"""The record of trials by which settings were chosen, each algorithm's own: a table, `configs/trials/<name>.csv`, with
a line for each run.

Settings stand under their dotted names, as JSON, and are empty where an algorithm lacks them. Equal trials give equal
bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.records import dumps, write_text

COLUMNS = ("benchmark", "model", "algorithm", "trial", "seed", "commit", "success", "chosen")
MARK = {True: "yes", False: "no"}

Cell = tuple[str, str, str]
"""Benchmark, model, algorithm."""


@dataclass(frozen=True)
class Trial:
    """One run. `success`: on validation tasks, in [0, 1], what `hiper.report.choice` compares; `chosen`: whether the
    trial, which may have several seeds, is its algorithm's best; `settings`: those that were tried, by dotted name."""

    benchmark: str
    model: str
    algorithm: str
    trial: str
    seed: int
    commit: str
    success: float
    chosen: bool
    settings: Mapping[str, Any]

    @property
    def cell(self) -> Cell:
        return self.benchmark, self.model, self.algorithm


def write_record(path: Path, trials: Sequence[Trial]) -> None:
    names = tried(trials)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *names])
    for one in trials:
        values = [dumps(one.settings[name]) if name in one.settings else "" for name in names]
        writer.writerow([*one.cell, one.trial, one.seed, one.commit, f"{one.success:.4f}", MARK[one.chosen], *values])
    write_text(path, text.getvalue())


def read_record(path: Path) -> list[Trial]:
    """UserError for a file that is missing or not what `write_record` writes."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return [_trial(row) for row in csv.DictReader(stream, strict=True)]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; `hiper choose` writes it from the trials") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:  # of JSON and UTF-8, too
        raise UserError(f"{path}: is no record of trials ({error}); `hiper choose` writes it again") from None


def _trial(row: dict[str, str]) -> Trial:
    benchmark, model, algorithm, trial, seed, commit, success, chosen = (row.pop(name) for name in COLUMNS)
    settings = {name: json.loads(value) for name, value in row.items() if value}
    marks = {text: mark for mark, text in MARK.items()}
    return Trial(benchmark, model, algorithm, trial, int(seed), commit, float(success), marks[chosen], settings)


def tried(trials: Sequence[Trial]) -> list[str]:
    """The settings that were tried, of whatever algorithm."""
    return sorted({name for one in trials for name in one.settings})


def described(trials: Sequence[Trial]) -> dict[str, Any]:
    """What the section `trials` of an experiment's settings says of a record, besides where it is."""
    return {
        "each": len({one.trial for one in trials}),
        "seeds": sorted({one.seed for one in trials}),
        "settings": tried(trials),
    }
