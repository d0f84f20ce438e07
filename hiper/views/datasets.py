"""What `hiper doctor` says of a benchmark's data set: whole, damaged, or not made yet and where it would come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiper.benchmarks.record import record_of
from hiper.config import BenchmarkSettings
from hiper.errors import UserError
from hiper.manifest import data_source
from hiper.views.machine import Finding, State


def data_finding(
    benchmark: BenchmarkSettings, root: Path, lacking: State, used: Sequence[str] | None = None
) -> Finding:
    """`lacking` is the state of a data set that cannot be used or made; `used`: the data's splits that must have tasks
    (None: all that the benchmark names)."""
    record, name, folder = record_of(benchmark.name), benchmark.dataset, root / "data" / benchmark.dataset
    command = f"hiper data repro {name}"
    if (folder / "dataset.json").exists():
        try:
            found = record.contents(
                benchmark, folder, used or [benchmark.splits.train, *benchmark.splits.evaluation.values()]
            )
            source = data_source(root / "data", name) or "unknown"
        except UserError as error:
            return Finding("Data", name, lacking, str(error), f"{command} makes it again")
        if found.absent:
            remedy = f"{command} makes it again"
            return Finding("Data", name, lacking, f"{found.absent} of {found.words} are gone", remedy)
        if found.empty:
            detail = f"{found.words}, none in the split {', '.join(found.empty)} of the task types asked for"
            remedy = f"complete its source, then {command} --force; or change the benchmark's file"
            return Finding("Data", name, lacking, detail, remedy)
        return Finding("Data", name, "ok", f"{found.words}, source: {source}{found.remark}")
    try:
        origin, obtainable = record.origin(benchmark, root)
    except UserError as error:
        origin, obtainable = str(error), False
    if obtainable:
        return Finding("Data", name, "optional", f"not made yet; will come from {origin}", f"{command} (a run does it)")
    return Finding("Data", name, lacking, f"not made yet, and {origin}", "see configs/benchmark/ and the README")
