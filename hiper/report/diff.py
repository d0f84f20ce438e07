"""`hiper diff A B`: what two folders of results differ in, from settings to success and learning curves.

They may be of other experiments, other commits or other machines, or unpacked evidence. Runs are compared with those
of the same benchmark, model and algorithm; success is paired over the seeds and tasks that both have, where both were
played on the same data.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hiper.config import RunSettings
from hiper.config.declared import with_earlier
from hiper.errors import UserError
from hiper.manifest import read_manifest
from hiper.records import absolute, atomic_write
from hiper.report.colours import colour
from hiper.report.formats import to_text
from hiper.report.measures import interval_of
from hiper.report.study import Study, load_studies
from hiper.report.table import INTERVAL, Column, Table, percent, reach, signed, signed_headline
from hiper.report.training import Course, averaged, course, courses, smooth
from hiper.runs import run_files
from hiper.runs.conditions import in_order
from hiper.runs.labels import WARM_START
from hiper.statistics import grid, mean_difference, mean_rate, paired

UNCOMPARED = ("seed", "experiment", "data", "data_source")  # said elsewhere, or no choice of anybody
SHOWN = 60  # characters of a value
WIDTH = 100  # of prose


@dataclass(frozen=True)
class Pair:
    """The same algorithm on the same benchmark with the same model, of both sides."""

    first: Study
    second: Study
    algorithm: str

    @property
    def name(self) -> str:
        return f"{self.first.benchmark} {self.first.model} {self.algorithm}"

    @property
    def same_data(self) -> bool:
        """False where both manifests tell of data, and of different ones."""
        one, other = (study.of(self.algorithm)[0].settings for study in (self.first, self.second))
        return not run_files.differ(one.get("data"), other.get("data"))


def diff(first: Path, second: Path, picture: Path) -> Iterator[str]:
    """What differs, in blocks of text; learning curves go to the file `picture`."""
    sides = [load_studies(first), load_studies(second)]
    yield "\n".join(_origin(*side) for side in zip("AB", (first, second), sides, strict=True))
    pairs, alone = match(*sides)
    for letter, names in zip("AB", alone, strict=True):
        if names:
            yield f"Only in {letter}: {', '.join(names)}."
    if not pairs:
        raise UserError(f"{first} and {second} have no benchmark, model and algorithm in common")
    settings = differing(pairs)
    yield _settings_text(settings, len(pairs)) if settings else "Settings: no difference."
    others = [pair.name for pair in pairs if not pair.same_data]
    if others:
        yield f"Played on other data, so not paired: {', '.join(others)}."
    table = success(pairs)
    yield to_text(table)
    yield textwrap.fill(table.caption, WIDTH)
    if draw(pairs, picture):
        yield f"Learning curves (A solid, B dashed): {picture}"


def match(first: Sequence[Study], second: Sequence[Study]) -> tuple[list[Pair], tuple[list[str], list[str]]]:
    """What both sides have, and the names of what one of them has alone."""
    sides = [
        {(study.benchmark, study.model, name): study for study in studies for name in study.algorithms}
        for studies in (first, second)
    ]
    pairs = [Pair(sides[0][key], sides[1][key], key[2]) for key in sides[0] if key in sides[1]]
    alone = tuple([" ".join(key) for key in own if key not in other] for own, other in (sides, sides[::-1]))
    return pairs, (alone[0], alone[1])


def _origin(letter: str, folder: Path, studies: Sequence[Study]) -> str:
    """The folder, its runs and the commits that made them."""
    runs = [run.name for study in studies for run in study.runs]
    made = [(read_manifest(folder / "runs" / name) or {}).get("git") or {} for name in runs]
    commits = {f"{git['commit'][:7]}{' with changes' * bool(git.get('dirty'))}" for git in made if git.get("commit")}
    return f"{letter}: {folder}, {len(runs)} runs, commit {', '.join(sorted(commits)) or 'unknown'}"


def differing(pairs: Sequence[Pair]) -> dict[tuple[str, str, str], list[str]]:
    """(setting, its value in A, in B) → the pairs that differ so. A setting that came later is compared by what was
    done before it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for pair in pairs:
        one, other = (_flat(study.of(pair.algorithm)[0].settings) for study in (pair.first, pair.second))
        for key in dict.fromkeys((*one, *other)):
            if pair.algorithm == WARM_START and key.startswith("algorithm."):
                continue  # those of an algorithm, which a warm start does not read
            if (values := (one.get(key, "–"), other.get(key, "–")))[0] != values[1]:
                found.setdefault((key, *values), []).append(pair.name)
    return found


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted name, as text."""
    found: dict[str, str] = {}
    for key, value in (with_earlier(RunSettings, settings) if not prefix else settings).items():
        if not prefix and key in UNCOMPARED:
            continue
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return found


def _settings_text(found: Mapping[tuple[str, str, str], Sequence[str]], every: int) -> str:
    """`every`: the number of pairs; where fewer differ, it is said which."""
    lines = ["Settings that differ:"]
    for (key, one, other), names in found.items():
        whose = "" if len(names) == every else f"   ({', '.join(names)})"
        lines.append(f"  {key}: {_short(one)} → {_short(other)}{whose}")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def success(pairs: Sequence[Pair]) -> Table:
    """A row for each pair and each condition that both were evaluated in: B minus A over the seeds and tasks that both
    have, and both rates over all tasks of these seeds, or of all seeds where nothing is common."""
    rows = []
    for pair in pairs:
        conditions = set(pair.first.main_conditions) & set(pair.second.conditions)
        for condition in in_order(conditions):
            ours, theirs = (study.outcomes.get((pair.algorithm, condition)) for study in (pair.first, pair.second))
            if not ours or not theirs:
                continue
            common = any(ours[seed].keys() & theirs[seed].keys() for seed in ours.keys() & theirs.keys())
            found = mean_difference(paired(theirs, ours)) if common and pair.same_data else None
            if found:  # both rates over the seeds that the difference is over
                ours, theirs = ({seed: one[seed] for seed in ours.keys() & theirs.keys()} for one in (ours, theirs))
            rows.append(
                {
                    "name": pair.name,
                    "where": condition.words,
                    "first": mean_rate(grid(ours)).mean,
                    "second": mean_rate(grid(theirs)).mean,
                    "difference": found.mean if found else float("nan"),
                    **interval_of(found),
                    "tasks": found.tasks if found else 0,
                    "seeds": found.seeds if found else 0,
                }
            )
    frame = pd.DataFrame(rows)
    columns = [
        Column("Benchmark, model, algorithm", ("name",)),
        Column("Played", ("where",)),
        Column("A", ("first",), percent),
        Column("B", ("second",), percent),
        Column("B − A", ("difference",), lambda value: "–" if value != value else signed(value)),
        Column("95 % interval", INTERVAL, signed_headline),
        Column("Tasks", ("tasks",)),
        Column("Seeds", ("seeds",)),
    ]
    seeds = {*frame["seeds"]} - {0} if rows else set()
    caption = f"Success in %. {reach(seeds)}" if seeds else "Success in %; no seed and task is common to both."
    return Table(columns, frame, None, caption)


def draw(pairs: Sequence[Pair], path: Path) -> bool:
    """Success in training over episodes, an axis for each benchmark and model, the mean over the seeds that both sides
    have, or over each side's own: A solid, B dashed; False, and no file, where neither side recorded any."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_place: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if any(courses(study, pair.algorithm) for study in (pair.first, pair.second)):
            by_place.setdefault((pair.first.benchmark, pair.first.model), []).append(pair)
    if not by_place:
        return False
    figure = Figure(figsize=(6.4 * len(by_place), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (place, own) in zip(figure.subplots(1, len(by_place), squeeze=False).flat, by_place.items(), strict=True):
        for pair in own:
            drawn = colour(pair.algorithm)
            sides = [_by_seed(study, pair.algorithm) for study in (pair.first, pair.second)]
            both = sides[0].keys() & sides[1].keys()
            for letter, study, side, line in zip("AB", (pair.first, pair.second), sides, ("-", "--"), strict=True):
                if found := [one for seed, one in side.items() if seed in both or not both]:
                    common = min(len(one.success) for one in found)
                    mean = sum(smooth(one.success[:common], averaged(common)) for one in found) / len(found)
                    seeds = "1 seed" if len(found) == 1 else f"{len(found)} seeds"
                    label = f"{study.label(pair.algorithm)}, {letter} ({seeds})"
                    axis.plot(found[0].spent["episodes"][:common], 100 * mean, line, color=drawn, label=label)
        axis.set(title=", ".join(place), xlabel="training episodes (moving average)", ylabel="success in training (%)")
        axis.set_ylim(0, 100)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=8)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return True


def _by_seed(study: Study, algorithm: str) -> dict[int, Course]:
    """Of each seed that has the metrics for it."""
    found = ((run.seed, course(study, run.name)) for run in study.of(algorithm))
    return {seed: one for seed, one in found if one is not None}


def default_picture(first: Path, second: Path) -> Path:
    """Beside the folders of experiments, which stay as they are."""
    names = [absolute(path).name for path in (first, second)]
    return Path("results") / f"diff-{names[0]}-{names[1]}.png"
