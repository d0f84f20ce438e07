"""The reference of the command line, from its own parser, as Markdown."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from hiper.cli.main import build_parser


def markdown() -> str:
    """Every command with its arguments, those within others (`hiper data make`) after them."""
    return "\n".join(_documented(build_parser()))


def _documented(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            said = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                within = any(isinstance(one, argparse._SubParsersAction) for one in command._actions)
                yield from ("", f"{'##' if parser.prog == 'hiper' else '###'} `{command.prog}`", "")
                yield from (_sentence(command.description or said.get(name) or ""), "")
                yield from [] if within else _arguments(command)
                yield from _documented(command)


def _arguments(command: argparse.ArgumentParser) -> Iterator[str]:
    rows = [action for action in command._actions if action.dest != "help"]
    if rows:
        yield from ("| argument | meaning |", "|---|---|")
    for action in rows:
        value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest)
        takes = "" if action.nargs == 0 else f" {value}"
        name = ", ".join(f"{option}{takes}" for option in action.option_strings) or str(value)
        text = command._get_formatter()._expand_help(action) if action.help else ""
        yield f"| `{name}` | {_plain(text)} |"


def _plain(text: str) -> str:
    """A text on one line of a table, in which nothing but backticks has a meaning of its own."""
    return re.sub(r"([<|*_])", r"\\\1", " ".join(text.split()))


def _sentence(text: str) -> str:
    text = _plain(text)
    return f"{text[0].upper()}{text[1:]}." if text and not text.endswith(".") else text
