"""A table and its columns, described once for every format, and the words of the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from hiper.runs.conditions import Condition, varying

SHARED = (
    "All seeds share the demonstrations, the tokenizer and the task splits, and the algorithms of one seed share its "
    "warm start: no interval says what others of these would change."
)
ONE_SEED = "tasks only"  # behind an interval that says nothing about other seeds


@dataclass(frozen=True)
class Column:
    """What a column shows of a frame of results, in every format.

    People read, below `title` (none: they do not see the column), the `text` of the frame's columns `shown`. CSV files
    have the frame's columns `files`, unless told the same, floats in the format `digits`. `link` names the frame's
    column with the anchor on the report's page that a cell leads to.
    """

    title: str
    shown: tuple[str, ...] = ()
    text: Callable[..., str] = str
    files: tuple[str, ...] | None = None
    digits: str = ".4f"
    link: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return self.shown if self.files is None else self.files

    def in_file(self, value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        return format(value, self.digits) if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Table:
    """A study's rows of one table: `rows` for people, the first column a name at the left, the others numbers at the
    right, and `records` for CSV files. A table that only people read has no records (None), and one that only machines
    read has columns without titles. `about` is the part of the caption that is about the whole study; the page says
    that once for all tables."""

    columns: Sequence[Column]
    rows: pd.DataFrame
    records: pd.DataFrame | None
    caption: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        for column in self.columns:
            shown = (*column.shown, *((column.link,) if column.link else ())) if column.title else ()
            for frame, names in ((self.rows, shown), (self.records, column.fields)):
                if frame is not None and not frame.empty and (absent := set(names) - set(frame)):
                    raise KeyError(
                        f"table column {column.title!r}: its frame has no {', '.join(sorted(absent))}; it has "
                        f"{', '.join(map(str, frame))}"
                    )

    @property
    def full_caption(self) -> str:
        return joined(self.caption, self.about)

    @cached_property
    def visible(self) -> list[Column]:
        return [column for column in self.columns if column.title]

    @property
    def header(self) -> tuple[str, ...]:
        return tuple(column.title for column in self.visible)

    @cached_property
    def cells(self) -> list[tuple[str, ...]]:
        """Text `[row][column]`."""
        if self.rows.empty:
            return []
        columns = [
            [column.text(*values) for values in zip(*(self.rows[name] for name in column.shown), strict=True)]
            for column in self.visible
        ]
        return list(zip(*columns, strict=True))

    @cached_property
    def anchors(self) -> list[tuple[str | None, ...]]:
        """Where each cell leads to on the report's page, `[row][column]`."""
        nowhere = [None] * len(self.rows)
        return list(zip(*(self.rows[one.link] if one.link else nowhere for one in self.visible), strict=True))

    def chosen(self, titles: Collection[str]) -> Table:
        """Only these columns."""
        return replace(self, columns=[column for column in self.columns if column.title in titles])


LABEL = Column("Algorithm", ("label",), files=("benchmark", "model", "algorithm"), link="origin")


def where(conditions: Sequence[Condition]) -> list[Column]:
    """The columns that say where a cell was played; protocol and model for people where they tell rows apart."""
    shown = varying(conditions)
    return [
        Column("Split", ("split",)),
        Column("Temp.", ("drawn",), files=("temperature",), digits=""),
        Column("Protocol" * ("protocol" in shown), ("protocol",)),
        Column("Model" * ("checkpoint" in shown), ("checkpoint",)),
    ]


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def mean_spread(mean: float, spread: float) -> str:
    return percent(mean) if math.isnan(spread) else f"{percent(mean)} ± {percent(spread)}"


def signed_spread(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "–"
    return signed(mean) if math.isnan(spread) else f"{signed(mean)} ± {percent(spread)}"


def two_digits(mean: float, spread: float = math.nan) -> str:
    if math.isnan(mean):
        return "–"
    text = f"{round(mean, 2) + 0.0:.2f}".replace("-", "−")
    return text if math.isnan(spread) else f"{text} ± {spread:.2f}"


def interval(low: float, high: float, text: Callable[[float], str] = percent) -> str:
    return "–" if math.isnan(low) else f"[{text(low)}, {text(high)}]"


def headline(*ends: float, text: Callable[[float], str] = percent) -> str:
    """The interval for new seeds and tasks; that of one seed for new tasks, and which it is. `ends`: of INTERVAL."""
    low, high, tasks_low, tasks_high = ends
    alone = math.isnan(low) and not math.isnan(tasks_low)
    return f"{interval(tasks_low, tasks_high, text)} {ONE_SEED}" if alone else interval(low, high, text)


def signed_headline(*ends: float) -> str:
    return headline(*ends, text=signed)


INTERVAL = ("low", "high", "tasks_low", "tasks_high")  # the columns of a frame that `headline` is of


def known(row: Any) -> tuple[float, float]:
    """The ends of the interval that `headline` shows of a row of a frame."""
    return (row.tasks_low, row.tasks_high) if math.isnan(row.low) else (row.low, row.high)


def joined(*sentences: str) -> str:
    """A caption of those sentences that say something."""
    return " ".join(filter(None, sentences))


def reach(seeds: Collection[int]) -> str:
    """What `headline` intervals of results of so many seeds each generalise to, in sentences."""
    if set(seeds) == {1}:
        alone = f'One seed tells nothing of others: the 95 % intervals, "{ONE_SEED}", are for new tasks.'
        return joined(alone, SHARED)
    one = f'With one seed there is none for other seeds: "{ONE_SEED}" is for new tasks alone.' if 1 in seeds else ""
    two = "Two seeds say little about others, hence the width." if 2 in seeds else ""
    several = "The 95 % intervals are for new training seeds and new tasks of the same kind."
    return joined(several, one, two, SHARED)
