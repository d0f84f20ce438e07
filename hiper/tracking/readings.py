"""What the files of a run say, as MLflow wants it: metrics by name and step, parameters as flat text."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from hiper.records import read_jsonl

COUNTERS = ("iteration", "step")  # what a row of metrics.jsonl counts

Metrics = dict[tuple[str, int], float]  # (name, step) to value


def run_metrics(folder: Path) -> Metrics:
    """`metrics.jsonl` and, as `seconds/…`, `timings.jsonl`, by name and iteration (or step)."""
    found: Metrics = {}
    for name, prefix in (("metrics.jsonl", ""), ("timings.jsonl", "seconds/")):
        for row in read_jsonl(folder / name, partial_ok=True) if (folder / name).exists() else []:
            step = next(int(row[counter]) for counter in COUNTERS if counter in row)
            found |= {(f"{prefix}{key}", step): float(value) for key, value in row.items() if key not in COUNTERS}
    return found


def evaluation_metrics(folder: Path) -> Metrics:
    """Success rate per split and temperature, overall and per task type, and mean turns, from `evaluation.jsonl`."""
    path = folder / "evaluation.jsonl"
    groups: dict[str, list[float]] = {}
    for row in read_jsonl(path) if path.exists() else []:
        part = f"evaluation/{row['split']}/T{row['temperature']:g}"
        groups.setdefault(f"{part}/success", []).append(float(row["won"]))
        groups.setdefault(f"{part}/success/{row['task_type']}", []).append(float(row["won"]))
        groups.setdefault(f"{part}/turns", []).append(float(row["turns"]))
    return {(name, 0): sum(values) / len(values) for name, values in groups.items()}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.key: text`; lists and null as JSON."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat


def columns(path: Path) -> dict[str, list[str]]:
    """A CSV table by columns."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = list(csv.reader(stream))
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}
