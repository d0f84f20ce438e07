"""The documents: every command in them is one that exists."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from hiper.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
DEV = "python -m dev."
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every `hiper …` in a code block, and of those in running text that have arguments;
    likewise of `python -m dev.…`."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()]
        lines += re.findall(r"`(hiper [^`]+ [^`]+|python -m dev\.[^`]+)`", text)
        # two blanks begin a remark
        found += [(path.name, re.split(r"  +", line)[0]) for line in lines if line.startswith(("hiper ", DEV))]
    return found


@pytest.mark.parametrize(("document", "command"), commands())
def test_commands_in_the_documents_exist(document: str, command: str) -> None:
    """Each is accepted by the command line's own parser."""
    if not command.startswith(DEV):
        build_parser().parse_args(shlex.split(command)[1:])
        return
    room, *arguments = shlex.split(command.removeprefix(DEV))
    parser = import_module(f"dev.{room}.__main__" if (ROOT / "dev" / room).is_dir() else f"dev.{room}").build_parser()
    parser.parse_args(arguments)


def test_documents_show_commands() -> None:
    """The search above finds what it looks for."""
    assert {document for document, _ in commands()} >= {"README.md", "guide.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link is a file of the project."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []
