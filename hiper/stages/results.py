"""The runs of an experiment as its report reads them, and the words the report uses for them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from hiper.errors import UserError
from hiper.manifest import read_manifest
from hiper.records import read_jsonl, require
from hiper.yaml_files import read_yaml

log = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "demo"  # what `snakemake` and `make mlflow` take where none is named
WARM_START = "warmstart"
ALGORITHM_LABELS = {
    WARM_START: "Warm start (SFT)",
    "hiper": "HiPER",
    "hiper_no_switch": "HiPER, no switch head",
    "hiper_paper_switch": "HiPER, paper's switch advantage",
    "hiper_no_norm": "HiPER, not normalised",
    "hiper_no_keep": "HiPER, no keep penalty",
    "ppo": "PPO",
    "ppo_turn": "PPO (turn-level)",
    "rloo": "RLOO",
    "grpo": "GRPO",
    "gigpo": "GiGPO",
    "hgpo": "HGPO",
}
TASK_LABELS = {
    "pick_and_place_simple": "Pick",
    "look_at_obj_in_light": "Look",
    "pick_clean_then_place_in_recep": "Clean",
    "pick_heat_then_place_in_recep": "Heat",
    "pick_cool_then_place_in_recep": "Cool",
    "pick_two_obj_and_place": "Pick2",
    **{category: category.capitalize() for category in ("beauty", "electronics", "fashion", "garden", "grocery")},
}
SPLITS = ("seen", "unseen", "dev", "test")  # the order in tables; others follow by name
LARGEST = sys.float_info.max

_RUN_NAME = re.compile(r"([a-z0-9_.]+)-([a-z0-9_.]+)-([a-z0-9_.]+)-seed([0-9]+)")
_EPISODE_KEYS = {"task": str, "task_type": str, "split": str, "temperature": (int, float), "won": bool}


@dataclass(frozen=True)
class Condition:
    """Where and how an evaluation was played."""

    split: str
    temperature: float


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

    def played(self, condition: Condition) -> list[dict[str, Any]]:
        return self._by_condition.get((condition.split, condition.temperature), [])

    @cached_property
    def _by_condition(self) -> dict[tuple[str, float], list[dict[str, Any]]]:
        found: dict[tuple[str, float], list[dict[str, Any]]] = {}
        for episode in self.episodes:
            found.setdefault((episode["split"], episode["temperature"]), []).append(episode)
        return found


@dataclass(frozen=True)
class Study:
    """All runs of one benchmark and model, by algorithm (warm start first) and seed."""

    benchmark: str
    model: str
    runs: tuple[Run, ...]

    @property
    def algorithms(self) -> list[str]:
        return list(dict.fromkeys(run.algorithm for run in self.runs))

    @cached_property
    def conditions(self) -> list[Condition]:
        """Splits in the order of SPLITS; temperatures ascending."""
        found = {
            Condition(episode["split"], float(episode["temperature"])) for run in self.runs for episode in run.episodes
        }
        known = {split: place for place, split in enumerate(SPLITS)}
        return sorted(found, key=lambda c: (known.get(c.split, len(known)), c.split, c.temperature))

    @cached_property
    def task_types(self) -> list[str]:
        found = {episode["task_type"] for run in self.runs for episode in run.episodes}
        return [name for name in TASK_LABELS if name in found] + sorted(found - TASK_LABELS.keys())

    def of(self, algorithm: str) -> list[Run]:
        return [run for run in self.runs if run.algorithm == algorithm]

    def gaps(self) -> str:
        """What a reader must know is missing, as sentences; empty for a complete study."""
        seeds = {run.seed for run in self.runs}
        missing = [
            f"{label(algorithm)} seed {seed}"
            for algorithm in self.algorithms
            for seed in sorted(seeds - {run.seed for run in self.of(algorithm) if run.episodes})
        ]
        broken = {
            f"{label(run.algorithm)} seed {run.seed}": count
            for run in self.runs
            if (count := sum(episode.get("failure") is not None for episode in run.episodes))
        }
        sentences = [f"Not evaluated yet: {', '.join(missing)}."] if missing else []
        if broken:
            sentences.append(f"Broken episodes, counted as lost: {sum(broken.values())}.")
            sentences += [f"{name}: {count}." for name, count in broken.items()]
        return " ".join(sentences)


def label(algorithm: str) -> str:
    return ALGORITHM_LABELS.get(algorithm, algorithm)


def task_label(task_type: str) -> str:
    return TASK_LABELS.get(task_type, task_type)


def kind(run: Run) -> str:
    """The estimator behind a run, whatever its configuration file is called; the warm start has none."""
    if run.algorithm == WARM_START:
        return WARM_START
    return str(setting(run.settings, "algorithm.name") or run.algorithm)


def folder_name(experiment: Path, run: Run) -> str:
    """The run's folder as commands of this project name it, wherever the experiment's folder lies now."""
    return f"results/{experiment.resolve().name}/runs/{run.name}"


def load_studies(experiment: Path) -> list[Study]:
    """All studies of `results/<experiment>`; UserError when no run has been evaluated."""
    folder = experiment / "runs"
    runs = [run for path in sorted(folder.glob("*/")) if (run := _load_run(path)) is not None]
    if not any(run.episodes for run in runs):
        raise UserError(f"{folder}: no run with an evaluation.jsonl; run the evaluation stage before the report")
    keys = sorted({(run.benchmark, run.model) for run in runs})
    return [
        Study(
            benchmark,
            model,
            tuple(sorted((r for r in runs if (r.benchmark, r.model) == (benchmark, model)), key=_order)),
        )
        for benchmark, model in keys
    ]


def _order(run: Run) -> tuple[bool, str, int]:
    return (run.algorithm != WARM_START, run.algorithm, run.seed)


def _load_run(path: Path) -> Run | None:
    match = _RUN_NAME.fullmatch(path.name)
    if match is None:
        log.warning("%s: not named <benchmark>-<model>-<algorithm>-seed<n>; left out", path)
        return None
    settings_file = path / "config.yaml"
    settings = read_yaml(settings_file) if settings_file.exists() else {}
    if (manifest := read_manifest(path)) is not None:
        # official and generated games must not be mixed up: the report says which were played
        settings = {**settings, "data_source": manifest.get("data_source")}
    episodes = _rows(path / "evaluation.jsonl", _EPISODE_KEYS)
    if not episodes and (path / "evaluation.jsonl").exists():
        raise UserError(f"{path / 'evaluation.jsonl'}: holds no episode; remove it and evaluate this run again")
    benchmark, model, algorithm, seed = match.groups()
    metrics = _rows(path / "metrics.jsonl", {})
    for number, row in enumerate(metrics, start=1):
        require(row, dict.fromkeys(row, (int, float, NoneType)), f"{path / 'metrics.jsonl'}:{number}")
    return Run(path.name, benchmark, model, algorithm, int(seed), settings, episodes, metrics)


def _rows(path: Path, kinds: Mapping[str, type | tuple[type, ...]]) -> tuple[dict[str, Any], ...]:
    """Rows of a JSONL file that may not exist yet or be growing; each must have the keys of `kinds`, of their types,
    and no number that a float cannot hold."""
    rows = read_jsonl(path, partial_ok=True) if path.exists() else []
    try:
        for number, row in enumerate(rows, start=1):
            require(row, kinds, f"{path}:{number}")
            if large := [key for key, value in row.items() if isinstance(value, int | float) and abs(value) > LARGEST]:
                raise UserError(f"{path}:{number}: `{large[0]}` is larger than any number a stage writes")
    except UserError as error:
        raise UserError(f"{error}; remove the file and run the stage that makes it again") from None
    return tuple(rows)


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
        "… evaluation": "evaluation.protocol",
        "… episodes drawn per split": "evaluation.episodes",
    }
    parts = [_fact(study, text, key) for text, key in facts.items()]
    return f"Benchmark {study.benchmark}, model {study.model}: {', '.join(part for part in parts if part)}."


def _fact(study: Study, text: str, key: str) -> str:
    """One fact; "a (X, Y) / b (Z)" where runs disagree, nothing where no run says."""
    by_value: dict[str, list[str]] = {}
    for run in study.runs:
        value = setting(run.settings, key)
        if value is not None:
            by_value.setdefault(str(value).replace("_", "-"), []).append(label(run.algorithm))
    if not by_value:
        return ""
    values = list(by_value)
    if len(values) > 1:
        values = [f"{value} ({', '.join(dict.fromkeys(names))})" for value, names in by_value.items()]
    joined = " / ".join(values)
    return text.replace("…", joined) if "…" in text else f"{text} {joined}"
