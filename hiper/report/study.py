"""The results of an experiment as its report reads them: evaluation episodes and training metrics, one tidy frame of
each."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hiper.algorithms.registry import ALGORITHMS
from hiper.errors import UserError
from hiper.records import absolute, leftover
from hiper.runs import run_files
from hiper.runs.conditions import Condition, condition_of, in_order
from hiper.runs.labels import WARM_START, ZERO_SHOT, label, task_label, task_labels
from hiper.runs.run_files import value_at
from hiper.statistics import Outcomes

log = logging.getLogger(__name__)

Cell = tuple[str, Condition]
"""An algorithm and where it was played."""

_RUN_NAME = re.compile(r"([a-z0-9_.]+)-([a-z0-9_.]+)-([a-z0-9_.]+)-seed([0-9]+)")


@dataclass(frozen=True)
class Run:
    """One run folder and its composed settings, empty where they are not known."""

    name: str
    benchmark: str
    model: str
    algorithm: str
    seed: int
    settings: Mapping[str, Any]

    @property
    def environment(self) -> str | None:
        """The benchmark as `hiper.plugins` knows it, whatever its configuration file is called."""
        return value_at(self.settings, "benchmark.name")

    @property
    def formula(self) -> str:
        """What is behind its algorithm, whatever the configuration file is called; the warm start has none."""
        if self.algorithm == WARM_START:
            return WARM_START
        return str(value_at(self.settings, "algorithm.name") or self.algorithm)

    @property
    def hierarchical(self) -> bool:
        """HiPER and its variants are; all others, the warm start among them, are flat."""
        algorithm = ALGORITHMS.get(self.formula)
        return algorithm is not None and algorithm.hierarchical


@dataclass(frozen=True, eq=False)
class Study:
    """All runs of one benchmark and model, by algorithm (warm start first) and seed.

    `episodes` has one row per evaluation episode, with the columns that `_episode` says; `metrics` has one per run and
    iteration, or step of SFT, with a column per metric; both are in the order of `runs`. `gradients`: what was measured
    of the algorithms' gradients, one entry for each policy. `wanted`: the algorithms and seeds of the whole experiment,
    a grid, whose every cell should be here. `demonstrated`: task type → turns of each demonstration of the expert.
    """

    benchmark: str
    model: str
    runs: tuple[Run, ...]
    episodes: pd.DataFrame
    metrics: pd.DataFrame
    gradients: tuple[Mapping[str, Any], ...] = ()
    wanted: tuple[tuple[str, int], ...] = ()
    demonstrated: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @cached_property
    def outcomes(self) -> dict[Cell, Outcomes]:
        """Cell → seed → (task type, task) → won or not, of each of its episodes there."""
        return self._of_tasks("won")

    @cached_property
    def scores(self) -> dict[Cell, Outcomes]:
        """The same of the benchmark's task score."""
        return self._of_tasks("score")

    @cached_property
    def graded(self) -> bool:
        """Whether scores say more than won or lost."""
        return bool((self.episodes["score"] != self.episodes["won"]).any())

    def _of_tasks(self, result: str) -> dict[Cell, Outcomes]:
        found: dict[Cell, dict[int, dict[tuple[str, str], list[float]]]] = {}
        columns = (self.episodes[name] for name in ("algorithm", "condition", "seed", "task_type", "task", result))
        for algorithm, condition, seed, task_type, task, value in zip(*columns, strict=True):
            tasks = found.setdefault((algorithm, condition), {}).setdefault(seed, {})
            tasks.setdefault((task_type, task), []).append(float(value))
        return found

    @cached_property
    def played(self) -> dict[tuple[str, Condition], pd.DataFrame]:
        """The episodes of a run, by its name, under a condition; no entry where there are none."""
        return dict(iter(self.episodes.groupby(["run", "condition"], sort=False)))

    @cached_property
    def training(self) -> dict[str, pd.DataFrame]:
        """The iterations of each run of RL that recorded any, by its name, with the metrics that it recorded."""
        if "iteration" not in self.metrics:
            return {}
        rows = self.metrics[self.metrics["iteration"].notna()]
        by_run = rows.groupby("run", sort=False)
        return {name: own.dropna(axis=1, how="all").reset_index(drop=True) for name, own in by_run}

    @cached_property
    def algorithms(self) -> list[str]:
        return list(dict.fromkeys(run.algorithm for run in self.runs))

    @property
    def trained(self) -> list[str]:
        return [algorithm for algorithm in self.algorithms if algorithm != WARM_START]

    @cached_property
    def conditions(self) -> list[Condition]:
        return in_order(set(self.episodes["condition"]))

    @cached_property
    def main_conditions(self) -> list[Condition]:
        """Those of one protocol and model, which everything but the success table is about: those that most algorithms
        were played in, by preference exhaustive and last."""
        played: dict[tuple[str, str], set[str]] = {condition.block: set() for condition in self.conditions}
        for algorithm, condition in self.outcomes:
            played[condition.block].add(algorithm)
        main = max(played, key=lambda block: len(played[block]), default=None)
        return [condition for condition in self.conditions if condition.block == main]

    @property
    def hardest(self) -> Condition | None:
        """Of the main conditions the one that asks most: the last split, its first temperature."""
        last = [c for c in self.main_conditions if c.split == self.main_conditions[-1].split]
        return last[0] if last else None

    @property
    def main_note(self) -> str:
        """Which conditions a table of the main ones is about; empty where there are no others."""
        if len(self.main_conditions) == len(self.conditions):
            return ""
        protocol, checkpoint = self.main_conditions[0].block
        return f"Of the {protocol} evaluation of each run's {checkpoint} model alone."

    @cached_property
    def task_types(self) -> list[str]:
        found = set(self.episodes["task_type"])
        labels = task_labels(self.runs[0].environment)
        return [name for name in labels if name in found] + sorted(found - labels.keys())

    def task_label(self, task_type: str) -> str:
        return task_label(self.runs[0].environment, task_type)

    @property
    def expert(self) -> bool:
        """Whether horizons are those of the expert, and not of whoever won."""
        return bool(self.demonstrated)

    def horizons(self, condition: Condition) -> dict[str, float]:
        """Task type → turns to a win, the shortest first: the mean over the expert's demonstrations that the turn limit
        allows or, without demonstrations, over the episodes that any run won under this condition. Types without any
        are left out."""
        limit = value_at(self.runs[0].settings, "benchmark.max_turns") or math.inf
        turns = {name: [one for one in found if one <= limit] for name, found in self.demonstrated.items()}
        if not self.expert:
            won = self.episodes[self.episodes["won"] & (self.episodes["condition"] == condition)]
            turns = {name: list(found.dropna()) for name, found in won.groupby("task_type")["turns"]}
        means = {name: float(np.mean(turns[name])) for name in self.task_types if turns.get(name)}
        return dict(sorted(means.items(), key=lambda item: item[1]))

    @cached_property
    def horizon(self) -> float:
        """Of all task types alike, under the condition that asks most; NaN where there is none."""
        return float(np.mean([*self.horizons(self.hardest).values()] or [math.nan])) if self.hardest else math.nan

    def of(self, algorithm: str) -> list[Run]:
        return [run for run in self.runs if run.algorithm == algorithm]

    def label(self, algorithm: str) -> str:
        """The name of an algorithm in tables and figures."""
        methods = {value_at(run.settings, "warm_start.method") for run in self.of(algorithm)}
        return ZERO_SHOT if algorithm == WARM_START and methods == {"none"} else label(algorithm)

    def cell_anchor(self, algorithm: str, condition: Condition) -> str:
        """The anchor of a cell's origin on the report's page."""
        return f"cell-{self.benchmark}-{self.model}-{algorithm}-{condition.place}-{condition.temperature}"

    def runs_anchor(self, algorithm: str) -> str:
        """The anchor of all runs of an algorithm."""
        return f"runs-{self.benchmark}-{self.model}-{algorithm}"

    def identity(self, algorithm: str, condition: Condition | None = None) -> dict[str, Any]:
        """Whose number it is, as columns of a frame of results."""
        found = {"benchmark": self.benchmark, "model": self.model, "algorithm": algorithm}
        found |= {"label": self.label(algorithm), "origin": self.runs_anchor(algorithm)}
        if condition is None:
            return found
        origin = {"origin": self.cell_anchor(algorithm, condition)}
        return {**found, **origin, **asdict(condition), "drawn": condition.drawn, "condition": condition}

    @cached_property
    def setup(self) -> str:
        """Benchmark, model, source of the games, turn limit, decoding and protocol in a sentence, by algorithm where
        they differ."""
        facts = {
            "data from source": "data_source",
            "engine": "benchmark.game_engine",
            "at most … turns": "benchmark.max_turns",
            "… prompts": "prompt.interface",
            "… decoding": "decoding.mode",
        }
        parts = [self._fact(text, key) for text, key in facts.items()]
        protocols = list(dict.fromkeys(condition.protocol for condition in self.conditions))
        parts.append(f"{' and '.join(protocols)} evaluation" if protocols else "")
        parts.append(self._fact("… episodes drawn per split", "evaluation.sampled_episodes") * ("sampled" in protocols))
        return f"Benchmark {self.benchmark}, model {self.model}: {', '.join(part for part in parts if part)}."

    def _fact(self, text: str, key: str) -> str:
        """One fact; "a (X; Y) / b (Z)" where runs disagree, nothing where no run says."""
        by_value: dict[str, list[str]] = {}
        for run in self.runs:
            value = value_at(run.settings, key)
            if value is not None:
                by_value.setdefault(str(value).replace("_", "-"), []).append(self.label(run.algorithm))
        if not by_value:
            return ""
        values = list(by_value)
        if len(values) > 1:
            values = [f"{value} ({'; '.join(dict.fromkeys(names))})" for value, names in by_value.items()]
        joined = " / ".join(values)
        return text.replace("…", joined) if "…" in text else f"{text} {joined}"

    @cached_property
    def gaps(self) -> str:
        """What a reader must know is missing, as sentences; empty for a complete study."""
        evaluated = set(zip(self.episodes["algorithm"], self.episodes["seed"], strict=True))
        wanted = self.wanted or tuple(product(self.algorithms, sorted({run.seed for run in self.runs})))
        missing = [f"{self.label(name)} seed {seed}" for name, seed in wanted if (name, seed) not in evaluated]
        partly = [
            f"{self.label(run.algorithm)} seed {run.seed} ({condition.words})"
            for run in self.runs
            for condition in self.conditions
            if (run.algorithm, run.seed) in evaluated
            and (run.name, condition) not in self.played
            and (run.algorithm, condition) in self.outcomes
        ]
        unlike = [condition.words for condition in self.conditions if self._tasks_differ(condition)]
        failures = self.episodes[self.episodes["failed"]].groupby(["algorithm", "seed"], sort=False).size()
        broken = {f"{self.label(name)} seed {seed}": count for (name, seed), count in failures.items()}
        sentences = [f"Not evaluated yet: {', '.join(missing)}."] if missing else []
        if partly:
            sentences.append(f"Not evaluated there, though other seeds are: {'; '.join(partly)}.")
        if unlike:
            sentences.append(
                f"Algorithms did not play the same tasks: {'; '.join(unlike)}. Compare paired differences."
            )
        if broken:
            sentences.append(f"Broken episodes, counted as lost: {sum(broken.values())}.")
            sentences += [f"{name}: {count}." for name, count in broken.items()]
        return " ".join(sentences)

    def _tasks_differ(self, condition: Condition) -> bool:
        """Whether runs of one seed played different tasks there."""
        played: dict[int, set[frozenset[str]]] = {}
        for run in self.runs:
            if (rows := self.played.get((run.name, condition))) is not None:
                played.setdefault(run.seed, set()).add(frozenset(rows["task"]))
        return any(len(tasks) > 1 for tasks in played.values())


def folder_name(experiment: Path, run: Run) -> str:
    """The run's folder as commands of this project name it, wherever the experiment's folder lies now."""
    return f"results/{absolute(experiment).name}/runs/{run.name}"


def load_studies(experiment: Path) -> list[Study]:
    """All studies of `results/<experiment>`; UserError when no run has been evaluated."""
    folder = experiment / "runs"
    if not folder.is_dir():
        places = (*experiment.parents, *sorted(experiment.glob("*")))
        if found := next((path for path in places if (path / "runs").is_dir()), None):
            raise UserError(
                f"{experiment}: has no folder runs, so it holds no experiment's results; name {found} instead"
            )
    runs: list[Run] = []
    episodes: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    for path, name in sorted(_run_folders(folder), key=_order):
        settings, played, trained = run_files.read(path)
        runs.append(run := Run(path.name, *name, settings))
        episodes += [_episode(run, row) for row in played]
        metrics += [{**row, "run": run.name} for row in trained]
    if not episodes:
        raise UserError(f"{folder}: no run with an evaluation.jsonl; run the evaluation stage before the report")
    frames = [pd.DataFrame(episodes), pd.DataFrame(metrics or {"run": []})]
    wanted = tuple(product(dict.fromkeys(run.algorithm for run in runs), sorted({run.seed for run in runs})))
    studies = []
    for benchmark, model in sorted({(run.benchmark, run.model) for run in runs}):
        own = tuple(run for run in runs if (run.benchmark, run.model) == (benchmark, model))
        slices = (frame[frame["run"].isin([run.name for run in own])] for frame in frames)
        gradients = run_files.read_gradients(experiment, benchmark, model)
        study = Study(benchmark, model, own, *slices, gradients, wanted, _demonstrated(experiment, benchmark))
        _require_one_data_set(study, folder)
        studies.append(study)
    return studies


def _demonstrated(experiment: Path, benchmark: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in run_files.demonstrated(experiment, benchmark):
        found.setdefault(row["task_type"], []).append(row["turn"] + 1)
    return found


def _run_folders(folder: Path) -> Iterator[tuple[Path, tuple[str, str, str, int]]]:
    """The folders of runs, and (benchmark, model, algorithm, seed) of each."""
    for path in sorted(folder.glob("*/")):
        if leftover(path.name):
            continue
        if match := _RUN_NAME.fullmatch(path.name):
            benchmark, model, algorithm, seed = match.groups()
            yield path, (benchmark, model, algorithm, int(seed))
        else:
            log.warning("%s: not named <benchmark>-<model>-<algorithm>-seed<n>; left out", path)


def _order(folder: tuple[Path, tuple[str, str, str, int]]) -> tuple[bool, str, int]:
    _, (_, _, algorithm, seed) = folder
    return algorithm != WARM_START, algorithm, seed


def _episode(run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `evaluation.jsonl` as one of the frame. `score`: the benchmark's task score; `reachable`: whether the
    goal can be won at all; `failed`: whether the environment broke."""
    condition = condition_of(row)
    names = ("task", "task_type", "won", "turns", "segments")
    return {
        "run": run.name,
        "algorithm": run.algorithm,
        "seed": run.seed,
        "condition": condition,
        **vars(condition),
        **{name: row.get(name) for name in names},
        "score": float(row.get("score", row["won"])),
        "reachable": bool(row.get("details", {}).get("reachable", True)),
        "failed": row.get("failure") is not None,
    }


def _require_one_data_set(study: Study, folder: Path) -> None:
    """UserError when runs that are to be compared were trained and played on different data."""
    first, *others = study.runs
    for run in others:
        data, source = ([value_at(each.settings, key) for each in (first, run)] for key in ("data", "data_source"))
        if run_files.differ(*data) or (None not in source and source[0] != source[1]):
            raise UserError(
                f"{folder}: {run.name} was made with other data than {first.name} ({data[1]}, source {source[1]}; "
                f"{data[0]}, source {source[0]}), so no table can compare them; make those runs again whose data are "
                "not the ones of today, or move them elsewhere"
            )
