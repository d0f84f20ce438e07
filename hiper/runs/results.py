"""The runs of an experiment as its report reads them, and the words the report uses for them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from hiper.algorithms.registry import ALGORITHMS
from hiper.benchmarks.record import record_of
from hiper.errors import UserError
from hiper.plugins import ENVIRONMENTS, known
from hiper.records import absolute, leftover
from hiper.runs import run_files
from hiper.runs.conditions import Condition, condition_of, in_order

log = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "demo"  # what `snakemake` and `make mlflow` take where none is named
WARM_START = "warmstart"
ALGORITHM_LABELS = {
    WARM_START: "Warm start (SFT)",
    "hiper": "HiPER",
    "hiper_traced": "HiPER, traced",
    "hiper_auto": "HiPER, traced by explained variance",
    "hiper_no_switch": "HiPER, no switch head",
    "hiper_paper_switch": "HiPER, paper's switch advantage",
    "hiper_no_norm": "HiPER, not normalised",
    "hiper_no_keep": "HiPER, no keep penalty",
    "hiper_potentials": "HiPER, potentials",
    "ppo": "PPO",
    "ppo_turn": "PPO (turn-level)",
    "vetta": "VETTA",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "gigpo": "GiGPO",
    "hgpo": "HGPO",
    "graphhca": "GraphHCA",
}
ZERO_SHOT = "Base model (zero-shot)"  # a warm start without training

_RUN_NAME = re.compile(r"([a-z0-9_.]+)-([a-z0-9_.]+)-([a-z0-9_.]+)-seed([0-9]+)")


@dataclass(frozen=True)
class Run:
    """One run folder: its composed settings, evaluation episodes and metrics, each empty where the file is missing."""

    name: str
    benchmark: str
    model: str
    algorithm: str
    seed: int
    settings: Mapping[str, Any]
    episodes: tuple[dict[str, Any], ...]
    metrics: tuple[dict[str, Any], ...]

    @property
    def environment(self) -> str | None:
        """The benchmark as `hiper.plugins` knows it, whatever its configuration file is called."""
        return setting(self.settings, "benchmark.name")

    def played(self, condition: Condition) -> list[dict[str, Any]]:
        return self.by_condition.get(condition, [])

    @cached_property
    def by_condition(self) -> dict[Condition, list[dict[str, Any]]]:
        found: dict[Condition, list[dict[str, Any]]] = {}
        for episode in self.episodes:
            found.setdefault(condition_of(episode), []).append(episode)
        return found


@dataclass(frozen=True)
class Study:
    """All runs of one benchmark and model, by algorithm (warm start first) and seed; `gradients`: what was measured of
    the algorithms' gradients, one entry for each policy; `wanted`: the algorithms and seeds of the whole experiment, a
    grid, whose every cell should be here."""

    benchmark: str
    model: str
    runs: tuple[Run, ...]
    gradients: tuple[Mapping[str, Any], ...] = ()
    wanted: tuple[tuple[str, int], ...] = ()

    @property
    def algorithms(self) -> list[str]:
        return list(dict.fromkeys(run.algorithm for run in self.runs))

    @cached_property
    def conditions(self) -> list[Condition]:
        return in_order({condition for run in self.runs for condition in run.by_condition})

    @cached_property
    def main_conditions(self) -> list[Condition]:
        """Those of one protocol and model, which everything but the success table is about: those that most algorithms
        were played in, by preference exhaustive and last."""
        played = {
            block: {run.algorithm for run in self.runs if any(c.block == block for c in run.by_condition)}
            for block in dict.fromkeys(condition.block for condition in self.conditions)
        }
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
        found = {episode["task_type"] for run in self.runs for episode in run.episodes}
        labels = task_labels(self.runs[0].environment)
        return [name for name in labels if name in found] + sorted(found - labels.keys())

    def task_label(self, task_type: str) -> str:
        return task_label(self.runs[0].environment, task_type)

    def of(self, algorithm: str) -> list[Run]:
        return [run for run in self.runs if run.algorithm == algorithm]

    def label(self, algorithm: str) -> str:
        """The name of an algorithm in tables and figures."""
        methods = {setting(run.settings, "warm_start.method") for run in self.of(algorithm)}
        return ZERO_SHOT if algorithm == WARM_START and methods == {"none"} else label(algorithm)

    def gaps(self) -> str:
        """What a reader must know is missing, as sentences; empty for a complete study."""
        evaluated = {(run.algorithm, run.seed) for run in self.runs if run.episodes}
        wanted = self.wanted or tuple(product(self.algorithms, sorted({run.seed for run in self.runs})))
        missing = [f"{self.label(name)} seed {seed}" for name, seed in wanted if (name, seed) not in evaluated]
        partly = [
            f"{self.label(run.algorithm)} seed {run.seed} ({condition.words})"
            for run in self.runs
            for condition in self.conditions
            if run.episodes
            and not run.played(condition)
            and any(one.played(condition) for one in self.of(run.algorithm))
        ]
        unlike = [condition.words for condition in self.conditions if self._tasks_differ(condition)]
        broken = {
            f"{self.label(run.algorithm)} seed {run.seed}": count
            for run in self.runs
            if (count := sum(episode.get("failure") is not None for episode in run.episodes))
        }
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
            if rows := run.played(condition):
                played.setdefault(run.seed, set()).add(frozenset(row["task"] for row in rows))
        return any(len(tasks) > 1 for tasks in played.values())


def label(algorithm: str) -> str:
    """Of a trained algorithm; `Study.label` knows warm starts, too."""
    return ALGORITHM_LABELS.get(algorithm, algorithm)


def task_labels(benchmark: str | None) -> Mapping[str, str]:
    """Of the task types of a benchmark, in the order of tables; none for one that is not installed any more."""
    return record_of(benchmark).labels if benchmark in known(ENVIRONMENTS) else {}


def task_label(benchmark: str | None, task_type: str) -> str:
    return task_labels(benchmark).get(task_type, task_type)


def kind(run: Run) -> str:
    """The estimator behind a run, whatever its configuration file is called; the warm start has none."""
    if run.algorithm == WARM_START:
        return WARM_START
    return str(setting(run.settings, "algorithm.name") or run.algorithm)


def hierarchical(run: Run) -> bool:
    """HiPER and its variants; all others, the warm start among them, are flat."""
    estimator = ALGORITHMS.get(kind(run))
    return estimator is not None and estimator.hierarchical


def folder_name(experiment: Path, run: Run) -> str:
    """The run's folder as commands of this project name it, wherever the experiment's folder lies now."""
    return f"results/{absolute(experiment).name}/runs/{run.name}"


def cell_name(study: Study, algorithm: str, condition: Condition) -> str:
    """The anchor of a cell's origin on the report's page."""
    return f"cell-{study.benchmark}-{study.model}-{algorithm}-{condition.place}-{condition.temperature}"


def group_name(study: Study, algorithm: str) -> str:
    """The anchor of all runs of an algorithm."""
    return f"runs-{study.benchmark}-{study.model}-{algorithm}"


def load_studies(experiment: Path) -> list[Study]:
    """All studies of `results/<experiment>`; UserError when no run has been evaluated."""
    folder = experiment / "runs"
    if not folder.is_dir():
        places = (*experiment.parents, *sorted(experiment.glob("*")))
        if found := next((path for path in places if (path / "runs").is_dir()), None):
            raise UserError(
                f"{experiment}: has no folder runs, so it holds no experiment's results; name {found} instead"
            )
    runs = [run for path in sorted(folder.glob("*/")) if (run := _load_run(path)) is not None]
    if not any(run.episodes for run in runs):
        raise UserError(f"{folder}: no run with an evaluation.jsonl; run the evaluation stage before the report")
    keys = sorted({(run.benchmark, run.model) for run in runs})
    names = dict.fromkeys(run.algorithm for run in sorted(runs, key=_order))
    wanted = tuple(product(names, sorted({run.seed for run in runs})))
    studies = [
        Study(
            benchmark,
            model,
            tuple(sorted((r for r in runs if (r.benchmark, r.model) == (benchmark, model)), key=_order)),
            run_files.read_gradients(experiment, benchmark, model),
            wanted,
        )
        for benchmark, model in keys
    ]
    for study in studies:
        _require_one_data_set(study, folder)
    return studies


def _require_one_data_set(study: Study, folder: Path) -> None:
    """UserError when runs that are to be compared were trained and played on different data."""
    first, *others = study.runs
    for run in others:
        data, source = ([setting(each.settings, key) for each in (first, run)] for key in ("data", "data_source"))
        if run_files.differ(*data) or (None not in source and source[0] != source[1]):
            raise UserError(
                f"{folder}: {run.name} was made with other data than {first.name} ({data[1]}, source {source[1]}; "
                f"{data[0]}, source {source[0]}), so no table can compare them; make those runs again whose data are "
                "not the ones of today, or move them elsewhere"
            )


def _order(run: Run) -> tuple[bool, str, int]:
    return (run.algorithm != WARM_START, run.algorithm, run.seed)


def _load_run(path: Path) -> Run | None:
    if leftover(path.name):
        return None
    match = _RUN_NAME.fullmatch(path.name)
    if match is None:
        log.warning("%s: not named <benchmark>-<model>-<algorithm>-seed<n>; left out", path)
        return None
    benchmark, model, algorithm, seed = match.groups()
    return Run(path.name, benchmark, model, algorithm, int(seed), *run_files.read(path))


def setting(settings: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def describe(study: Study) -> str:
    """Benchmark, model, source of the games, turn limit, decoding and protocol of a study in a sentence, by algorithm
    where they differ."""
    facts = {
        "data from source": "data_source",
        "engine": "benchmark.game_engine",
        "at most … turns": "benchmark.max_turns",
        "… prompts": "prompt.interface",
        "… decoding": "decoding.mode",
    }
    parts = [_fact(study, text, key) for text, key in facts.items()]
    protocols = list(dict.fromkeys(condition.protocol for condition in study.conditions))
    parts.append(f"{' and '.join(protocols)} evaluation" if protocols else "")
    parts.append(_fact(study, "… episodes drawn per split", "evaluation.sampled_episodes") * ("sampled" in protocols))
    return f"Benchmark {study.benchmark}, model {study.model}: {', '.join(part for part in parts if part)}."


def _fact(study: Study, text: str, key: str) -> str:
    """One fact; "a (X, Y) / b (Z)" where runs disagree, nothing where no run says."""
    by_value: dict[str, list[str]] = {}
    for run in study.runs:
        value = setting(run.settings, key)
        if value is not None:
            by_value.setdefault(str(value).replace("_", "-"), []).append(study.label(run.algorithm))
    if not by_value:
        return ""
    values = list(by_value)
    if len(values) > 1:
        values = [f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in by_value.items()]
    joined = " / ".join(values)
    return text.replace("…", joined) if "…" in text else f"{text} {joined}"
