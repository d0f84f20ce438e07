"""Published numbers beside this experiment's own, for the data they were measured on.

A benchmark's record names a YAML file of them, with `data`, the configuration of `configs/benchmark/` whose data they
were measured on; `columns`: `all` or `success`, the rate over all task types, `score`, or a task type; `protocol` and
`sources` for the caption; and `rows`. In a row, `estimator` and `interface` say which of our algorithms is the same:
`algorithm.name` and `prompt.interface` of its runs; the estimator `none` is a pretrained model without training (the
warm start where `warm_start.method` is `none`). `values` are percentages by column, each a number, a number with its
published standard deviation, `[72.8, 3.6]`, or one known approximately only, `{about: 92}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hiper.benchmarks.record import record_of
from hiper.plugins import ENVIRONMENTS, known
from hiper.report.table_formats import Table, joined, mean_spread
from hiper.report.tables import success_rate
from hiper.runs.conditions import Condition, explain
from hiper.runs.results import WARM_START, Study, cell_name, describe, kind, setting
from hiper.yaml_files import read_yaml

OURS = "here"
UNTRAINED = "none"  # the estimator of a model without training
LINKED = ("Algorithm", "All", "Score", "Success")
TITLES = {"all": "All", "score": "Score", "success": "Success"}


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
    estimator: str
    interface: str
    source: str
    values: Mapping[str, Number]


def published_table(study: Study) -> Table | None:
    """Published rows, below each of them our rows of the same estimator and prompt; None where nothing was published on
    these games (another benchmark, or generated ones).

    If our model is none of the published ones, the rows of all published models are shown.
    """
    content = published_on(study.runs[0].environment)
    generated = any(setting(run.settings, "data_source") == "generate" for run in study.runs)
    if generated or content.get("data") != study.benchmark:
        return None
    rows = _rows(content)
    same_model = [row for row in rows if row.model == study.model]
    cells: list[tuple[str, ...]] = []
    links: list[Mapping[str, str]] = []
    columns = content["columns"]
    for match in dict.fromkeys((row.estimator, row.interface) for row in rows):
        group = [row for row in same_model or rows if (row.estimator, row.interface) == match]
        ours = _ours(study, *match) if group else []
        cells += [_theirs(row, columns) for row in group]
        cells += [_row(study, algorithm, condition, columns) for algorithm, condition in ours]
        links += [{} for _ in group]
        links += [dict.fromkeys(LINKED, cell_name(study, algorithm, condition)) for algorithm, condition in ours]
    warning = "" if same_model else f"Our model, {study.model}, is none of theirs: only the games are the same."
    titles = (TITLES.get(column) or study.task_label(column) for column in columns)
    header = ("Algorithm", "Model", "Source", "Split", "Temp.", *titles)
    if same_model:  # nothing to tell apart
        header, cells = (header[0], *header[2:]), [(row[0], *row[2:]) for row in cells]
    caption = joined(*(_caption(content, rows), warning, _note(study), explain(study.main_conditions), describe(study)))
    return Table(caption, header, tuple(cells), tuple(links))


def _note(study: Study) -> str:
    return f"Rows from {OURS}: {study.main_note[0].lower()}{study.main_note[1:]}" if study.main_note else ""


def _theirs(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return (row.name, row.model, row.source, "–", "–", *(str(row.values.get(column, "–")) for column in columns))


def _row(study: Study, algorithm: str, condition: Condition, columns: Sequence[str]) -> tuple[str, ...]:
    values = (_cell(study, algorithm, condition, column) for column in columns)
    return (study.label(algorithm), study.model, OURS, condition.split, condition.drawn, *values)


def _ours(study: Study, estimator: str, interface: str) -> list[tuple[str, Condition]]:
    """The cells of this study that belong below the published rows of an estimator and prompt."""
    return [
        (algorithm, condition)
        for algorithm in study.algorithms
        if _same(study, algorithm, estimator, interface)
        for condition in study.main_conditions
        if success_rate(study.of(algorithm), condition) is not None
    ]


def _same(study: Study, algorithm: str, estimator: str, interface: str) -> bool:
    """Is our algorithm the published one? HiPER's ablations have its estimator, too, but not its name."""
    run = study.of(algorithm)[0]
    if setting(run.settings, "prompt.interface") != interface:
        return False
    if algorithm == WARM_START:
        return estimator == UNTRAINED and setting(run.settings, "warm_start.method") == "none"
    return kind(run) == estimator and (estimator != "hiper" or algorithm == "hiper")


def _cell(study: Study, algorithm: str, condition: Condition, column: str) -> str:
    rate = success_rate(study.of(algorithm), condition, None if column in TITLES else column)
    if rate is None:
        return "–"
    return (
        mean_spread(rate.score, rate.score_spread)
        if column == "score"
        else mean_spread(rate.success.mean, rate.success.spread)
    )


def _caption(content: Mapping[str, Any], rows: Sequence[Row]) -> str:
    used = dict.fromkeys(row.source for row in rows)
    sources = "; ".join(f"{name}: {content['sources'][name]}" for name in used)
    return f"Percent; mean ± standard deviation over seeds. {content['protocol']} Sources: {sources}."


def _rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        Row(**{key: row[key] for key in ("name", "model", "estimator", "interface", "source")}, values=_values(row))
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
