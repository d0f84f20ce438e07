"""A table as CSV, Markdown, LaTeX and plain text, and the numbers in its cells."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from hiper.statistics import Aggregate, Interval, Mean

SHARED = (
    "All seeds share the demonstrations, the tokenizer and the task splits, and the algorithms of one seed share its "
    "warm start: what others of these would change is in no interval."
)
ONE_SEED = "tasks only"  # behind an interval that says nothing about other seeds


@dataclass(frozen=True)
class Table:
    """Text in cells; the first column is a name, the others are numbers. `links` may say of each row which of its
    columns lead where on the report's page: header → anchor."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[Mapping[str, str], ...] = ()


def to_csv(records: Sequence[dict[str, str]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def to_markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in (table.header, *table.rows)]
        rule = ["---"] + ["---:"] * (len(table.header) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (escaped[0], rule, *escaped[1:])]
        parts.append("\n".join([*lines, "", table.caption, ""]))
    return "\n".join(parts)


def to_text(table: Table) -> str:
    """Fixed-width columns, without the caption."""
    rows = [table.header, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def joined(*sentences: str) -> str:
    """A caption of those sentences that say something."""
    return " ".join(filter(None, sentences))


def number(value: float) -> str:
    """As CSV files have it: four digits, empty where there is none."""
    return "" if math.isnan(value) else f"{value:.4f}"


def percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def signed(value: float) -> str:
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def mean_spread(mean: float, spread: float) -> str:
    return percent(mean) if math.isnan(spread) else f"{percent(mean)} ± {percent(spread)}"


def interval_text(interval: Interval) -> str:
    return "–" if math.isnan(interval.low) else f"[{percent(interval.low)}, {percent(interval.high)}]"


def signed_interval(interval: Interval) -> str:
    return "–" if math.isnan(interval.low) else f"[{signed(interval.low)}, {signed(interval.high)}]"


def headline(found: Mean | Aggregate, text: Callable[[Interval], str] = interval_text) -> str:
    """The interval for new seeds and tasks; that of one seed for new tasks, and which it is."""
    return text(found.known) if found.seeds > 1 else f"{text(found.known)} {ONE_SEED}"


def reach(seeds: Collection[int]) -> str:
    """What `headline` intervals of results of so many seeds each generalise to, in sentences."""
    if set(seeds) == {1}:
        alone = f'One seed tells nothing of others: the 95 % intervals, "{ONE_SEED}", are for new tasks.'
        return joined(alone, SHARED)
    one = f'With one seed there is none for other seeds: "{ONE_SEED}" is for new tasks alone.' if 1 in seeds else ""
    two = "Two seeds say little about others, hence the width." if 2 in seeds else ""
    several = "The 95 % intervals are for new training seeds and new tasks of the same kind."
    return joined(several, one, two, SHARED)


def interval_columns(found: Mean) -> dict[str, str]:
    """`low` and `high` for new seeds and tasks (empty for one seed), `tasks_low` and `tasks_high` for new tasks."""
    ends = {"": found.interval, "tasks_": found.over_tasks}
    return {f"{name}{end}": number(getattr(one, end)) for name, one in ends.items() for end in ("low", "high")}


def aggregate_columns(name: str, found: Aggregate | None) -> dict[str, str]:
    """The value of an aggregate and its ends as columns of a CSV file; empty without one."""
    values = (found.value, found.interval.low, found.interval.high) if found else (math.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(number, values), strict=True))
