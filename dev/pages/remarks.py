"""What stands beside a definition: comments of Python fields, comments of YAML keys."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from functools import cache
from pathlib import Path


@cache
def comments(source: str) -> dict[int, str]:
    """The text of every comment of a Python source by its line number, from 1."""
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return {one.start[0]: one.string.lstrip("# ") for one in found if one.type == tokenize.COMMENT}


def remark(source: str, node: ast.stmt) -> str:
    """The comments in the lines right above a statement, then those in its own lines."""
    lines, texts = source.splitlines(), comments(source)
    first = node.lineno
    while first > 1 and lines[first - 2].lstrip().startswith("#"):
        first -= 1
    assert node.end_lineno is not None
    return " ".join(texts[line] for line in range(first, node.end_lineno + 1) if line in texts)


@cache
def yaml_remarks(path: Path) -> dict[str, str]:
    """The comments of a configuration file by dotted key: those right above a key, then the one behind its value. A
    comment that begins the file is about the file and has the key "".

    Written for block style with keys that are plain words, which all files of `configs/` have.
    """
    found: dict[str, str] = {}
    above: list[str] = []
    keys: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if line.lstrip().startswith("#"):
            above.append(line.lstrip("# "))
            continue
        if above and number == len(above):
            found[""], above = " ".join(above), []
        if match := re.match(r"( *)([\w.]+):(?: .*?)?(?: # ?(.*))?$", line):
            keys = [*((depth, key) for depth, key in keys if depth < len(match[1])), (len(match[1]), match[2])]
            if said := [*above, *filter(None, [match[3]])]:
                found[".".join(key for _, key in keys)] = " ".join(said)
        above = []
    return found
