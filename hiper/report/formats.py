"""A table as CSV, Markdown and plain text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from hiper.report.table import Table


def to_csv(tables: Sequence[Table]) -> str:
    """The records of one table of all studies below one header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for number, table in enumerate(tables):
        fields = [(column, name) for column in table.columns for name in column.fields]
        if number == 0:
            writer.writerow(name for _, name in fields)
        if table.records is not None and not table.records.empty:
            values = ([column.in_file(value) for value in table.records[name]] for column, name in fields)
            writer.writerows(zip(*values, strict=True))
    return text.getvalue()


def to_markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in (table.header, *table.cells)]
        rule = ["---"] + ["---:"] * (len(table.header) - 1)
        lines = ["| " + " | ".join(row) + " |" for row in (escaped[0], rule, *escaped[1:])]
        parts.append("\n".join([*lines, "", table.full_caption, ""]))
    return "\n".join(parts)


def to_text(table: Table) -> str:
    """Fixed-width columns, without the caption."""
    rows = [table.header, *table.cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
