"""Choosing settings, the same number of trials for each algorithm.

A trial is an experiment that differs from the others in settings of `algorithm` and `training`, with seeds that no
published result has. Chosen is, for each benchmark, model and algorithm, the trial with the highest success on
validation tasks, which no table reports: the mean over seeds, and over the validations in the second half of a run's
iterations. What the trials were told is compared, so that nothing else can have made the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hiper.compose import RunName, config_text, leaves, recorded_settings
from hiper.config import RunSettings
from hiper.config.declared import stages_read
from hiper.errors import UserError
from hiper.grids import unread
from hiper.layers import GRID
from hiper.manifest import read_manifest
from hiper.records import absolute, leftover
from hiper.report.formats import to_text
from hiper.report.selection import SUCCESS
from hiper.report.table import Column, Table, mean_spread
from hiper.runs import run_files
from hiper.runs.labels import WARM_START, label
from hiper.statistics import mean_and_spread
from hiper.trials import Cell, Trial, described, tried, write_record

MAY_DIFFER = ("algorithm.", "training.")
BUDGET = ("algorithm.name", "training.iterations", "training.episodes", "training.validation.")
"""What is the same for all trials, the beginnings of names: who tries it compares something else."""
DIGITS = 9  # of mean success, beyond which equal means may differ by rounding


@dataclass(frozen=True)
class Tried:
    """A finished run of a trial. `values`: its settings by dotted name, and its data."""

    settings: RunSettings
    values: Mapping[str, Any]
    commit: str
    success: float


Outcomes = dict[Cell, dict[str, dict[int, Tried]]]
"""By trial and seed, in the order of the trials."""


def choose(folders: Sequence[Path], record: Path) -> str:
    """Compare the trials in `results/<trial>` and write their `record`; what to read and what to put into the
    experiment's file. Of equally good trials the one that comes first in `folders` is chosen.

    UserError where trials are missing or not finished, or differ in what must be the same.
    """
    names = [absolute(folder).name for folder in folders]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"trials {', '.join(names)}: name two or more different folders results/<trial>, the one with the common "
            "settings first"
        )
    if record.is_absolute():
        raise UserError(f"{record}: name the record from the project's root, as the experiment's file is to name it")
    outcomes = _outcomes(dict(zip(names, folders, strict=True)))
    differing = {cell: _differing(cell, by_trial) for cell, by_trial in outcomes.items()}
    keys = {key for own in differing.values() for key in own}
    rows = [row for cell, by_trial in outcomes.items() for row in _rows(cell, by_trial, keys)]
    write_record(record, rows)
    parts = [_shown(rows, *where) for where in dict.fromkeys(cell[:2] for cell in outcomes)]
    section = config_text({**_chosen(rows), "trials": {"record": record.as_posix(), **described(rows)}})
    if len(commits := {row.commit for row in rows}) > 1:
        parts.append(f"The trials come from {len(commits)} different commits: the record has each run's.")
    where = f"{record} has every run. For the file of the experiment in configs/experiment:"
    return "\n\n".join([*parts, where, section])


def _outcomes(folders: Mapping[str, Path]) -> Outcomes:
    """UserError unless every trial has the same runs, all of them finished and validated."""
    runs = {trial: dict(_runs(folder)) for trial, folder in folders.items()}
    wanted = sorted({name for own in runs.values() for name in own}, key=lambda name: (*_cell(name), name.seed))
    if not wanted:
        raise UserError(
            f"{', '.join(map(str, folders.values()))}: no algorithm was trained there; name results/<trial>"
        )
    pairs = [(trial, name) for trial in runs for name in wanted]
    if missing := [f"{folders[trial]}/runs/{name}" for trial, name in pairs if name not in runs[trial]]:
        raise UserError(
            f"missing, so that algorithms would not have the same number of trials: {', '.join(missing)}; run "
            "`hiper run TRIAL train` for each trial"
        )
    found: Outcomes = {}
    for name in wanted:
        for trial, own in runs.items():
            by_seed = found.setdefault(_cell(name), {}).setdefault(trial, {})
            by_seed[name.seed] = _read(own[name])
    seeds = {cell: {seed for by_seed in by_trial.values() for seed in by_seed} for cell, by_trial in found.items()}
    if len({frozenset(own) for own in seeds.values()}) > 1:
        listed = "; ".join(f"{'-'.join(cell)}: {', '.join(map(str, sorted(own)))}" for cell, own in seeds.items())
        raise UserError(f"algorithms were tried with different seeds: {listed}; try all with the same ones")
    return found


def _cell(name: RunName) -> Cell:
    return name.benchmark, name.model, name.algorithm


def _runs(folder: Path) -> Iterator[tuple[RunName, Path]]:
    if not (folder / "runs").is_dir():
        raise UserError(f"{folder}: has no folder runs, so it holds no trial; name results/<trial>")
    for path in sorted((folder / "runs").glob("*/")):
        if not leftover(path.name) and (name := RunName.parse(path.name)).algorithm != WARM_START:
            yield name, path


def _read(folder: Path) -> Tried:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder}: its training is not finished (no manifest.json); `hiper run TRIAL train` goes on")
    recorded, _, metrics = run_files.read(folder)
    own = {key: value for key, value in recorded.items() if key in RunSettings.model_fields}
    settings = recorded_settings(own, str(folder))
    half = metrics[-1]["iteration"] / 2 if metrics else 0
    validated = [row[SUCCESS] for row in metrics if row["iteration"] > half and row.get(SUCCESS) is not None]
    if not validated:
        raise UserError(
            f"{folder}: was not validated, so that nothing can be chosen by it; set training.validation.tasks above 0 "
            "and train it again"
        )
    values = leaves(settings.model_dump(mode="json", exclude={"seed"}))
    apart = tuple(f"{name}." for name in stages_read(RunSettings).unread)
    told = {key: value for key, value in values.items() if not f"{key}.".startswith(apart)}
    git = manifest.get("git") or {}
    commit = f"{str(git.get('commit', ''))[:10]}{'+' * bool(git.get('dirty'))}"
    success = float(np.mean(validated))
    return Tried(settings, {**told, "data": manifest.get("data")}, commit, success)


def _differing(cell: Cell, by_trial: Mapping[str, Mapping[int, Tried]]) -> list[str]:
    """The settings that were tried. UserError where trials differ in more, or two of them are one."""
    who = "-".join(cell)
    runs = [one for by_seed in by_trial.values() for one in by_seed.values()]
    first = runs[0]
    keys = sorted({key for one in runs for key in one.values})
    differing = [key for key in keys if any(one.values.get(key) != first.values.get(key) for one in runs)]
    if wrong := [key for key in differing if not key.startswith(MAY_DIFFER) or key.startswith(BUDGET)]:
        raise UserError(
            f"trials of {who} differ in {', '.join(wrong)}; only settings of `algorithm` and `training` that say how "
            "is learnt can be tried, everything else and the budget must be the same"
        )
    for trial, by_seed in by_trial.items():
        seeds = [one.values for one in by_seed.values()]
        if uneven := [key for key in differing if any(one.get(key) != seeds[0].get(key) for one in seeds)]:
            raise UserError(
                f"{trial}: seeds of {who} differ in {', '.join(uneven)}; `hiper run TRIAL train` makes "
                "those again whose settings have changed since"
            )
    read = [key for key in differing if unread(key, first.settings) is None]
    told = {trial: next(iter(by_seed.values())).values for trial, by_seed in by_trial.items()}
    for one_trial, other in combinations(told, 2):
        if all(told[one_trial].get(key) == told[other].get(key) for key in read):
            idle = f" (it does not read {', '.join(differing)})" if differing and not read else ""
            raise UserError(
                f"{one_trial} and {other} are one trial for {who}{idle}, so that it would have had fewer trials than "
                "others; set there something else for it, under by_algorithm"
            )
    return differing


def _rows(cell: Cell, by_trial: Mapping[str, Mapping[int, Tried]], keys: set[str]) -> Iterator[Trial]:
    means = {trial: round(_mean(by_seed), DIGITS) for trial, by_seed in by_trial.items()}
    best = max(means, key=lambda trial: means[trial])  # of equal ones the first
    for trial, by_seed in by_trial.items():
        for seed, one in by_seed.items():
            read = [key for key in sorted(keys) if key in one.values and unread(key, one.settings) is None]
            settings = {key: one.values[key] for key in read}
            yield Trial(*cell, trial, seed, one.commit, one.success, trial == best, settings)


def _mean(by_seed: Mapping[int, Tried]) -> float:
    return float(np.mean([one.success for one in by_seed.values()]))


def _chosen(rows: Sequence[Trial]) -> dict[str, Any]:
    """The chosen settings as sections of an experiment: under `by_algorithm`, within those for a benchmark or a model
    where there are several."""
    groups = [group for group in GRID[:-1] if len({getattr(row, group) for row in rows}) > 1] + [GRID[-1]]
    sections: dict[str, Any] = {}
    for row in rows:
        if row.chosen:
            inner = sections
            for group in groups:
                inner = inner.setdefault(f"by_{group}", {}).setdefault(getattr(row, group), {})
            for key, value in row.settings.items():
                *above, last = key.split(".")
                section = inner
                for name in above:
                    section = section.setdefault(name, {})
                section[last] = value
    return sections


def _shown(rows: Sequence[Trial], benchmark: str, model: str) -> str:
    """The trials of one benchmark and model as a table."""
    own = [row for row in rows if (row.benchmark, row.model) == (benchmark, model)]
    names = tried(own)
    records = []
    for algorithm, trial in dict.fromkeys((row.algorithm, row.trial) for row in own):
        runs = [row for row in own if (row.algorithm, row.trial) == (algorithm, trial)]
        mean, spread = mean_and_spread([row.success for row in runs])
        values = {name: str(runs[0].settings.get(name, "–")) for name in names}
        told = {"label": label(algorithm), "trial": trial, "mean": mean, "spread": spread, "seeds": len(runs)}
        records.append({**told, **values, "mark": "chosen" if runs[0].chosen else ""})
    columns = [
        Column("Algorithm", ("label",)),
        Column("Trial", ("trial",)),
        *(Column(name, (name,)) for name in names),
        Column("Validation", ("mean", "spread"), mean_spread),
        Column("Seeds", ("seeds",)),
        Column(" ", ("mark",)),
    ]
    title = (
        f"Success in % on validation tasks of {benchmark}, model {model}, mean over the second half of the iterations "
        "(± deviation over seeds)"
    )
    return f"{title}\n\n{to_text(Table(columns, pd.DataFrame(records), None))}"
