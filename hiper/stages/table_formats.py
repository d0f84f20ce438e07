"""A table as CSV, Markdown, LaTeX and plain text, and the numbers in its cells."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from hiper.statistics import Aggregate, Interval


@dataclass(frozen=True)
class Table:
    """Text in cells; the first column is a name, the others are numbers."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


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


def to_latex(tables: Sequence[Table], name: str) -> str:
    """`table` environments with booktabs rules; they need only `\\usepackage{booktabs}`."""
    parts = ["% needs \\usepackage{booktabs}"]
    for number, table in enumerate(tables, start=1):
        suffix = f"-{number}" if len(tables) > 1 else ""
        body = [" & ".join(map(_escape, row)) + r" \\" for row in (table.header, *table.rows)]
        parts += [
            r"\begin{table}[t]",
            r"\centering\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\caption{{{_escape(table.caption)}}}",
            rf"\label{{tab:{name}{suffix}}}",
            r"\begin{tabular}{l" + "r" * (len(table.header) - 1) + "}",
            *(r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"),
            r"\end{tabular}",
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"\textless{}"},
    **{">": r"\textgreater{}", "≥": r"$\geq$", "±": r"$\pm$", "−": "$-$", "–": "--"},
    "[": "{[}",  # after a line break LaTeX would read it as an optional argument
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


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


def aggregate_columns(name: str, found: Aggregate | None) -> dict[str, str]:
    """The value of an aggregate and its ends as columns of a CSV file; empty without one."""
    values = (found.value, found.interval.low, found.interval.high) if found else (math.nan,) * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(number, values), strict=True))
