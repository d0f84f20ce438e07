"""How long the workflow's jobs take: measured by Snakemake where such a job has run, counted for GPUs, else not known.

Snakemake writes the seconds of every job that succeeded to `results/<experiment>/benchmarks/<rule>/<job>.tsv`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from hiper.compose import RunName
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.manifest import TAKEN_FROM, read_manifest
from hiper.planning.assumptions import Assumptions
from hiper.runs.labels import WARM_START
from hiper.views.estimates import plan_of

COPIED = {"demonstrations": "demonstrations", "tokenizer": "tokenizers", "warm_start": "runs"}  # rules that may copy
PREFLIGHT = "preflight"
ON_GPU = ("warm_start", "train", "evaluate", "gradient_variance")  # these and a preflight: the engine's device
_SEED = re.compile(r"-seed[0-9]+$")


class Key(NamedTuple):
    """A job: the experiment (empty for data sets, which all share), its rule, the name of its benchmark file."""

    experiment: str
    rule: str
    name: str

    @classmethod
    def of(cls, path: Path) -> Key:
        """By its benchmark file, from the project's root: `results/<experiment>/benchmarks/<rule>/<name>.tsv`, without
        the experiment for data sets, without the rule's folder for rules that have one job."""
        *before, _, rule = path.parent.parts if path.parent.name != "benchmarks" else (*path.parent.parts, path.stem)
        return cls(before[-1] if len(before) > 1 else "", rule, path.stem)

    @property
    def cell(self) -> str:
        """The same for all seeds."""
        return _SEED.sub("", self.name)

    @property
    def benchmark(self) -> str:
        return self.name.partition("-")[0]


@dataclass(frozen=True)
class Duration:
    """Seconds of a job and where they are from: `measured`, `measured elsewhere` (in another experiment), `counted`."""

    seconds: float
    source: str


class Durations:
    """What is known of an experiment's jobs. `runs`: its grid with settings, for what can be counted."""

    def __init__(self, experiment: str, runs: Mapping[RunName, RunSettings], root: Path) -> None:
        self.experiment, self.runs, self.root = experiment, runs, root

    @cached_property
    def measured(self) -> Mapping[Key, float]:
        """Seconds of every job that has run in any experiment, and did not only copy what another had made."""
        found: dict[Key, float] = {}
        places = ("benchmarks/*/*.tsv", "*/benchmarks/*.tsv", "*/benchmarks/*/*.tsv")
        for path in sorted(path for place in places for path in (self.root / "results").glob(place)):
            with path.open(encoding="utf-8", newline="") as stream:
                seconds = [float(row["s"]) for row in csv.DictReader(stream, delimiter="\t") if row.get("s")]
            key = Key.of(path.relative_to(self.root))
            if seconds and not self._copied(key):
                found[key] = seconds[-1]
        return found

    def _copied(self, key: Key) -> bool:
        """By the manifest of what the job made."""
        if key.rule not in COPIED:
            return False
        name = _SEED.sub(lambda seed: f"-{WARM_START}{seed[0]}", key.name) if key.rule == "warm_start" else key.name
        with suppress(UserError):  # damaged: whoever reads what it is about will say so
            return TAKEN_FROM in (read_manifest(self.root / "results" / key.experiment / COPIED[key.rule] / name) or {})
        return False

    def own(self, rule: str) -> dict[str, float]:
        """Seconds of the experiment's own jobs of a rule that have run, by name; those of runs no longer in its grid
        are left out."""
        names = {name for run in self.runs for name in _names(run)}
        return {
            key.name: seconds
            for key, seconds in self.measured.items()
            if key.rule == rule and key.experiment in ("", self.experiment) and key.name in names
        }

    def of(self, job: Key) -> Duration | None:
        """What a job will take: as long as itself when it ran before, as those of other seeds, of its benchmark, of its
        rule in this experiment; as the same cell elsewhere; as counted; None where nothing tells."""
        same_rule = {key: seconds for key, seconds in self.measured.items() if key.rule == job.rule}
        if not job.experiment:  # a data set, of which another one tells nothing
            same_rule = {key: seconds for key, seconds in same_rule.items() if key.name == job.name}
        here = {key: seconds for key, seconds in same_rule.items() if key.experiment == job.experiment}
        for alike in (
            [seconds for key, seconds in here.items() if key.name == job.name],
            [seconds for key, seconds in here.items() if key.cell == job.cell],
            [seconds for key, seconds in here.items() if key.benchmark == job.benchmark],
            list(here.values()),
        ):
            if alike:
                return Duration(fmean(alike), "measured")
        if alike := [seconds for key, seconds in same_rule.items() if key.cell == job.cell]:
            return Duration(fmean(alike), "measured elsewhere")
        return self._counted(job)

    def gpus(self, job: Key) -> int:
        """That a job occupies, as the workflow's rules ask: those of all its processes for a training and the try
        before it, none for a warm start that only copies a model, one for other stages."""
        run = self._tried(job) if job.rule == PREFLIGHT else self._on_gpu(job)
        if run is None or (job.rule == "warm_start" and self.runs[run].warm_start.method == "none"):
            return 0
        return self.runs[run].engine.processes if job.rule in ("train", PREFLIGHT) else 1

    def _tried(self, job: Key) -> RunName | None:
        """The run that a preflight stands for, the first training of its model, if that computes on GPUs."""
        trained = (run for run in self.runs if run.model == job.name and run.algorithm != WARM_START)
        run = next(trained, None)
        return run if run is not None and self.runs[run].engine.device == "cuda" else None

    def _on_gpu(self, job: Key) -> RunName | None:
        """The run that a job is about, or one of several, if it computes on GPUs; None for all other jobs."""
        if job.rule not in ON_GPU:
            return None
        alike = (run for run in self.runs if job.name in _names(run))
        return next((run for run in alike if self.runs[run].engine.device == "cuda"), None)

    def _counted(self, job: Key) -> Duration | None:
        run = self._on_gpu(job)
        plan = None if run is None or job.rule == "warm_start" else plan_of(run, self.runs[run], Assumptions())
        if plan is None:
            return None
        if job.rule == "gradient_variance":
            algorithms = len({name.algorithm for name in self.runs if name != name.warm_start})
            return Duration(plan.variance_seconds(algorithms), "counted")
        return Duration(plan.training_seconds if job.rule == "train" else plan.evaluation_seconds, "counted")


def _names(run: RunName) -> tuple[str, ...]:
    """What the benchmark files of jobs about a run are called: after it, after the warm start that it begins from, or
    after the part of its name that several runs share."""
    cell = f"{run.benchmark}-{run.model}"
    return str(run), f"{cell}-seed{run.seed}", cell, run.benchmark
