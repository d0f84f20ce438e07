"""Published numbers beside this experiment's own, for the data they were measured on.

A benchmark's record names a YAML file of them, with `data`, the configuration of `configs/benchmark/` whose data they
were measured on; `columns`: `all` or `success`, the rate over all task types, `score`, or a task type; `protocol` and
`sources` for the caption; and `rows`. In a row, `formula` and `interface` say which of our algorithms is the same:
`algorithm.name` and `prompt.interface` of its runs; the formula `none` is a pretrained model without training (the
warm start where `warm_start.method` is `none`). `values` are percentages by column, each a number, a number with its
published standard deviation, `[72.8, 3.6]`, or one known approximately only, `{about: 92}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from hiper.benchmarks.record import record_of
from hiper.plugins import ENVIRONMENTS, known
from hiper.report.measures import ALL, pick, rates
from hiper.report.study import Study
from hiper.report.success import main_cells
from hiper.report.table import Column, Table, joined, mean_spread
from hiper.runs.conditions import legend
from hiper.runs.labels import WARM_START
from hiper.runs.run_files import value_at
from hiper.yaml_files import read_yaml

OURS = "here"
UNTRAINED = "none"  # the formula of a model without training
TITLES = {"all": "All", "score": "Score", "success": "Success"}  # those of our rows that lead to their runs


@dataclass(frozen=True)
class Number:
    """A published number and its standard deviation, in percent; `about`: known approximately only."""

    mean: float
    spread: float | None = None
    about: bool = False

    def __str__(self) -> str:
        if self.about:
            return f"≈ {self.mean:g}"
        return f"{self.mean:.1f}" if self.spread is None else f"{self.mean:.1f} ± {self.spread:.1f}"


@dataclass(frozen=True)
class Row:
    """One published row: whose it is, and its numbers by column."""

    name: str
    model: str
    formula: str
    interface: str
    source: str
    values: Mapping[str, Number]


def published_table(study: Study) -> Table:
    """Published rows, below each of them our rows of the same formula and prompt; no row where nothing was published
    on these games (another benchmark, or generated ones).

    If our model is none of the published ones, the rows of all published models are shown.
    """
    content = published_on(study.runs[0].environment)
    generated = any(value_at(run.settings, "data_source") == "generate" for run in study.runs)
    if generated or content.get("data") != study.benchmark:
        return Table([], pd.DataFrame(), None)
    published = _rows(content)
    same_model = [row for row in published if row.model == study.model]
    names = content["columns"]
    rows: list[dict[str, str | None]] = []
    for match in dict.fromkeys((row.formula, row.interface) for row in published):
        group = [row for row in same_model or published if (row.formula, row.interface) == match]
        rows += [_theirs(row, names) for row in group]
        if group:
            cells = main_cells(study).to_dict("records")
            rows += [_ours(study, cell, names) for cell in cells if _same(study, cell["algorithm"], *match)]
    numbers = [(TITLES.get(name) or study.task_label(name), name) for name in names]
    columns = [
        Column("Algorithm", ("label",), link="origin"),
        Column("Model" * (not same_model), ("model",)),  # else nothing to tell apart
        Column("Source", ("source",)),
        Column("Split", ("split",)),
        Column("Temp.", ("drawn",)),
        *(Column(title, (name,), link="origin" if name in TITLES else None) for title, name in numbers),
    ]
    warning = "" if same_model else f"Our model, {study.model}, is none of theirs: only the games are the same."
    caption = joined(_caption(content, published), warning, _note(study), legend(study.main_conditions))
    return Table(columns, pd.DataFrame(rows), None, caption, study.setup)


def _note(study: Study) -> str:
    return f"Rows from {OURS}: {study.main_note[0].lower()}{study.main_note[1:]}" if study.main_note else ""


def _theirs(row: Row, names: Sequence[str]) -> dict[str, str | None]:
    numbers = {name: str(row.values.get(name, "–")) for name in names}
    identity = {"label": row.name, "model": row.model, "source": row.source, "split": "–", "drawn": "–"}
    return {**identity, **numbers, "origin": None}


def _ours(study: Study, cell: Mapping[str, Any], names: Sequence[str]) -> dict[str, str | None]:
    """One of our cells as a row."""
    numbers = dict.fromkeys(names, "–")
    for row in pick(rates(study), origin=cell["origin"]).itertuples():
        if row.task_type == ALL:
            numbers |= {name: mean_spread(row.mean, row.std) for name in ("all", "success") if name in names}
            numbers |= {"score": mean_spread(row.score, row.score_std)} if "score" in names else {}
        elif row.task_type in names:
            numbers[row.task_type] = mean_spread(row.mean, row.std)
    return {**{name: cell[name] for name in ("label", "model", "split", "drawn", "origin")}, "source": OURS, **numbers}


def _same(study: Study, algorithm: str, formula: str, interface: str) -> bool:
    """Is our algorithm the published one? HiPER's ablations have its formula, too, but not its name."""
    run = study.of(algorithm)[0]
    if value_at(run.settings, "prompt.interface") != interface:
        return False
    if algorithm == WARM_START:
        return formula == UNTRAINED and value_at(run.settings, "warm_start.method") == "none"
    return run.formula == formula and (formula != "hiper" or algorithm == "hiper")


def _caption(content: Mapping[str, Any], rows: Sequence[Row]) -> str:
    used = dict.fromkeys(row.source for row in rows)
    sources = "; ".join(f"{name}: {content['sources'][name]}" for name in used)
    return f"Percent; mean ± standard deviation over seeds. {content['protocol']} Sources: {sources}."


def _rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        Row(**{key: row[key] for key in ("name", "model", "formula", "interface", "source")}, values=_values(row))
        for row in content["rows"]
    ]


def _values(row: Mapping[str, Any]) -> dict[str, Number]:
    return {column: _number(value) for column, value in row["values"].items()}


def _number(value: float | list[float] | dict[str, float]) -> Number:
    if isinstance(value, dict):
        return Number(value["about"], about=True)
    return Number(value[0], value[1]) if isinstance(value, list) else Number(value)


@cache
def published_on(benchmark: str | None) -> Mapping[str, Any]:
    """What was published on a benchmark; empty where its record names nothing, or is not installed any more."""
    path = record_of(benchmark).published if benchmark in known(ENVIRONMENTS) else None
    return {} if path is None else read_yaml(path)
