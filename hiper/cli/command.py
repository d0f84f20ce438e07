"""What the command families share: how a command is declared, and the folders it names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hiper.errors import UserError, nearest
from hiper.paths import astray, expanded

if TYPE_CHECKING:
    from hiper.config import RunSettings

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # what add_subparsers gives back
Handler = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """argparse's, which also says the nearest of the names there are, and may leave what stands behind `--` to another
    program: as a list in the attribute that `passes_on` names."""

    passes_on: str | None = None

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        own = list(args) if args is not None else None
        passed: list[str] = []
        if self.passes_on is not None and own is not None and "--" in own:
            cut = own.index("--")
            own, passed = own[:cut], own[cut + 1 :]
        found, unknown = super().parse_known_args(own, namespace)
        if self.passes_on is not None and own is not None:
            setattr(found, self.passes_on, passed)
        if unknown and self._subparsers is None:  # the command's own usage, and not that of all commands
            self.error(f"unrecognized arguments: {' '.join(unknown)}{nearest(unknown[0], self._option_string_actions)}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = [str(name) for name in action.choices]
            known = f"there are {', '.join(names)}"
            raise argparse.ArgumentError(action, f"{str(value)!r} is unknown{nearest(str(value), names)}; {known}")


def declare(commands: Commands, name: str, handler: Handler, summary: str) -> argparse.ArgumentParser:
    """Add a subcommand that runs `handler`; `summary` stands in the list and at the head of its own help."""
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(handler=handler)
    return parser


def run_folder(parser: argparse.ArgumentParser) -> None:
    """The positional argument RUN_DIR; log lines carry its name."""
    parser.add_argument("subject", type=results, metavar="RUN_DIR", help="a run's folder, which holds its config.yaml")


def data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=path, default=Path("data"), metavar="DIR", help="the data sets (default: data)")


def path(text: str) -> Path:
    """A path, as the `type` of an option: a shell leaves the `~` of `--data=~/games` alone."""
    try:
        return expanded(text, "the path")
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def results(text: str) -> Path:
    """A path, as the `type` of an argument; where nothing lies there, the results of the experiment of that name."""
    found = path(text)
    named = Path("results") / found
    return named if len(found.parts) == 1 and not found.exists() and named.is_dir() else found


def natural(text: str) -> int:
    """A whole number from 0, as the `type` of an option."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def port(text: str) -> int:
    """The number of a port, as the `type` of an option."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 1 to 65535")
    return int(text)


def existing(path: Path) -> Path:
    if not path.exists():
        experiments = [found.parent.name for found in Path("results").glob("*/runs")] if len(path.parts) == 1 else []
        raise UserError(f"{path}: no such file or folder{nearest(path.name, experiments) or astray(path)}")
    return path


def settings_of(folder: Path) -> RunSettings:
    from hiper.compose import read_config

    path = folder / "config.yaml"
    if not path.exists():
        several = "; it holds an experiment: name one of its runs" if (folder / "runs").is_dir() else astray(folder)
        raise UserError(f"{path}: no such file{several}")
    return read_config(path)
