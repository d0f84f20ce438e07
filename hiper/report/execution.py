"""When, where, by which commit and at what cost the results on the report's page were made: what its top line says."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hiper.manifest import TAKEN_FROM
from hiper.report.origin import Made
from hiper.runs.labels import WARM_START
from hiper.runs.run_files import BENCHMARKS, value_at

LATER = ("report.tsv", "track_results.tsv")  # of jobs that come after the results
LEAST = 0.05  # CPU-hours and gigabytes that are shown with one digit


@dataclass(frozen=True)
class Jobs:
    """Snakemake's measurements of `count` jobs: seconds they took and, on processors, used; the largest memory in
    MiB."""

    count: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory: float = 0.0


def execution(experiment: Path, made: Sequence[Made]) -> dict[str, str]:
    """Facts by their name, from the manifests of all runs and Snakemake's measurements."""
    manifests = [one for run in made for one in (run.training, run.evaluation) if one is not None]
    ends = sorted(end for one in manifests if (end := _finished(one)) is not None)
    jobs = measured(experiment / BENCHMARKS)
    return {
        "Finished": f"{ends[-1]:%Y-%m-%d %H:%M} UTC" if ends else "not recorded",
        "Commit": _commits(manifests),
        "Hardware": "; ".join(dict.fromkeys(map(_machine, manifests))) or "not recorded",
        "Duration": "; ".join(_durations(manifests, ends, jobs)) or "not recorded",
        "Cost": ", ".join(_costs(made, jobs)),
    }


def measured(folder: Path) -> Jobs:
    """What the tables of Snakemake in a folder come to; what they say nothing of counts as nothing."""
    paths = [path for path in sorted(folder.rglob("*.tsv")) if path.name not in LATER]
    rows = [
        row for path in paths for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t")
    ]
    seconds, used, memory = ([_number(row.get(name)) for row in rows] for name in ("s", "cpu_time", "max_rss"))
    return Jobs(len(rows), sum(seconds), sum(used), max(memory, default=0.0))


def _number(text: str | None) -> float:
    try:
        found = float(text or 0.0)
    except ValueError:  # "-" and "NA": too brief to be measured
        return 0.0
    return found if math.isfinite(found) else 0.0


def _finished(manifest: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(manifest.get("finished"))).astimezone(UTC)
    except ValueError:
        return None


def _commits(manifests: Iterable[Mapping[str, Any]]) -> str:
    found: dict[str, bool] = {}
    for one in manifests:
        commit = str(value_at(one, "git.commit") or "not known")[:10]
        found[commit] = found.get(commit, False) or bool(value_at(one, "git.dirty"))
    return ", ".join(f"{commit} with changes" if dirty else commit for commit, dirty in found.items()) or "not known"


def _machine(manifest: Mapping[str, Any]) -> str:
    """The engine that the settings name and, where a manifest tells of it, what that ran on."""
    engine = value_at(manifest, "settings.engine")
    told = value_at(manifest, "hardware")
    parts = list(_parts(told)) if isinstance(told, Mapping) else []
    if isinstance(engine, Mapping) and engine.get("device") == "cuda":
        parts.append("cuda")
    elif isinstance(engine, Mapping):
        threads = engine.get("threads", 1)
        parts.append(f"{engine.get('device', 'cpu')} with {threads} thread{'s' * (threads != 1)}")
    return ", ".join(parts) or "not recorded"


def _parts(told: Mapping[str, Any]) -> Iterator[str]:
    gpus = told.get("gpus")
    for name in dict.fromkeys(gpus if isinstance(gpus, list) else []):
        yield f"{gpus.count(name)} × {name}"
    if told.get("processor"):
        yield str(told["processor"])
    if told.get("cores"):
        yield f"{told['cores']} cores"
    if told.get("memory_gib"):
        yield f"{told['memory_gib']} GiB"


def _durations(manifests: Sequence[Mapping[str, Any]], ends: Sequence[datetime], jobs: Jobs) -> Iterator[str]:
    starts = [end - timedelta(seconds=_wall(one)) for one in manifests if (end := _finished(one)) is not None]
    if starts:
        yield f"{spoken((ends[-1] - min(starts)).total_seconds())} from the first start of a run to the last end"
    if jobs.count:
        yield f"{jobs.count} jobs took {spoken(jobs.seconds)} together, the last attempt of each"
    elif wall := sum(map(_wall, manifests)):
        yield f"trainings and evaluations took {spoken(wall)} together"
    taken = [value_at(one, TAKEN_FROM) for one in manifests]
    if taken := [one for one in taken if isinstance(one, Mapping)]:
        where = ", ".join(dict.fromkeys(str(one.get("experiment")) for one in taken))
        count = "1 warm start" if len(taken) == 1 else f"{len(taken)} warm starts"
        yield f"{count} taken from {where}, made there in {spoken(sum(map(_wall, taken)))}"


def _costs(made: Iterable[Made], jobs: Jobs) -> Iterator[str]:
    gpu = 0.0
    for run in made:
        # trainings alone are shared out; a warm start and an evaluation are one process each
        shared = run.run.algorithm != WARM_START
        gpu += _gpu_seconds(run.training, shared) + _gpu_seconds(run.evaluation, False)
    yield f"{gpu / 3600:,.1f} GPU-hours of trainings and evaluations" if gpu else "no GPU"
    if jobs.count:
        yield f"{_one_digit(jobs.cpu_seconds / 3600)} CPU-hours"
        yield f"up to {_one_digit(jobs.memory / 1024)} GiB of memory in a job"
    else:
        yield "CPU time not recorded"


def _gpu_seconds(manifest: Mapping[str, Any] | None, shared: bool) -> float:
    if manifest is None or value_at(manifest, "settings.engine.device") != "cuda":
        return 0.0
    nodes, gpus = (value_at(manifest, f"settings.engine.{name}") or 1 for name in ("nodes", "gpus"))
    return _wall(manifest) * (nodes * gpus if shared else 1)


def _one_digit(amount: float) -> str:
    return f"{amount:,.1f}" if amount >= LEAST else f"{amount:.2g}"


def _wall(manifest: Mapping[str, Any]) -> float:
    found = manifest.get("wall_time_seconds")
    return float(found) if isinstance(found, int | float) else 0.0


def spoken(seconds: float) -> str:
    """`2 h 05 min`, `3 min 07 s`, `12 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
