"""HTML that cannot be broken by what it shows: every text is escaped unless it is Markup already."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path

from hiper.report.table_formats import Table

STYLE = Path(__file__).with_name("report.css")
# Nothing is fetched and nothing is executed, whatever text a model or a game has put into the page.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
VOID = ("img", "meta")


class Markup(str):
    """HTML; any other string is text."""


def text(value: str) -> Markup:
    """Escaped; characters that do not show or that turn the reading direction are written out, line ends stay."""
    shown = "".join(
        character
        if character.isprintable() or character == "\n"
        else character.encode("unicode_escape").decode("ascii")
        for character in value
    )
    return Markup(html.escape(shown))


def tag(name: str, /, *children: str, **attributes: str) -> Markup:
    """An element. Attributes are escaped; `class_` is `class`."""
    shown = "".join(f' {key.rstrip("_")}="{text(value)}"' for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{join(children)}</{name}>")


def join(children: Sequence[str], between: str = "") -> Markup:
    return Markup(between.join(child if isinstance(child, Markup) else text(child) for child in children))


def link(address: str, /, *children: str, **attributes: str) -> Markup:
    return tag("a", *children, href=address, **attributes)


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and what they are, one below the other."""
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in pairs))


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], **attributes: str) -> Markup:
    """A table without a caption."""
    head = tag("thead", tag("tr", *(tag("th", cell) for cell in header)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body, **attributes), class_="wide")


def numbers(table: Table, cell: Callable[[int, int, str], str] = lambda row, column, value: value) -> Markup:
    """A table of results with its caption; `cell` may dress the text at (row, column)."""
    rows = [[cell(i, j, value) for j, value in enumerate(row)] for i, row in enumerate(table.rows)]
    return tag("figure", grid(table.header, rows, class_="numbers"), tag("figcaption", table.caption))


def image(path: Path, caption: str) -> Markup:
    """A PNG file, inside the page."""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    shown = tag("img", src=f"data:image/png;base64,{content}", alt=caption)
    return tag("figure", shown, tag("figcaption", caption))


def document(title: str, *body: str) -> str:
    """A whole page that needs no other file."""
    style = Markup(f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>")
    head = (
        tag("meta", charset="utf-8"),
        tag("meta", **{"http-equiv": "Content-Security-Policy"}, content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        style,
    )
    page = tag("html", tag("head", *head), tag("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"
