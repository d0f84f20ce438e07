"""Entry point of `hiper`: parse, set up logging, run one command, turn mistakes of a person into one message.

Exit status: 0 done, 1 a comparison failed, 2 a mistake that the message says how to correct, 75 stopped by a signal
with its work saved (the same command goes on), 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from hiper.cli import compose, data, doctor, inspect, learning, model, plan, play, reporting, tracking
from hiper.cli import run as running
from hiper.cli.command import Handler, Parser
from hiper.cli.environment import what_to_do
from hiper.errors import Interrupted, UserError

DESCRIPTION = """\
Train language-model agents with hierarchical advantage estimation. `hiper run EXPERIMENT` runs all stages of an
experiment by Snakemake; each can be run alone with the commands below, in the project's root.
"""

TRACEBACK = "HIPER_TRACEBACK"
TRY_AGAIN = os.EX_TEMPFAIL
EPILOG = f"With {TRACEBACK}=1 in the environment, a mistake is shown with the traceback of where it was found."


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="hiper", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and the commit, and exit")
    parser.set_defaults(handler=lambda _: parser.print_help() or 0)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for family in (running, plan, doctor, reporting, inspect, play, model, data, learning, compose, tracking):
        family.add(commands)
    return parser


class _Version(argparse.Action):
    """Looked up when it is asked for alone."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        from hiper.manifest import ask_git

        state, _ = ask_git(Path(__file__).parents[2])
        commit = f" (commit {state['commit'][:7]}{', with changes' if state['dirty'] else ''})" if state else ""
        print(f"hiper {version('hiper')}{commit}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments)


def run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> int:
    """Parse and run one command of `parser`; what goes wrong becomes a message and an exit status."""
    _show_whatever_the_terminal_can()
    parsed = parser.parse_args(arguments)
    start_logging(getattr(parsed, "subject", None))
    handler = cast(Handler, parsed.handler)
    # the workflow's shells start us with it ignored (workflow/rules/cluster.smk)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        return handler(parsed)
    except UserError as error:
        return _report(str(error))
    except Interrupted as notice:
        print(f"hiper: {notice}; the same command goes on from there", file=sys.stderr)
        return TRY_AGAIN
    except KeyboardInterrupt:
        print("hiper: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output (head, less) has gone; nothing may be flushed to it at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if (message := what_to_do(error)) is None:
            raise
        return _report(message)


def _show_whatever_the_terminal_can() -> None:
    """In a locale that is not UTF-8, what has no place in its character set becomes a question mark, not an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # input that was read from before cannot be changed any more
                stream.reconfigure(errors="replace")


def _report(message: str) -> int:
    """Show a person's mistake, or the machine's, as one message; call it while the exception is handled."""
    if os.environ.get(TRACEBACK, "0") not in ("", "0"):
        traceback.print_exc()
    print(f"hiper: {message}", file=sys.stderr)
    return 2


def start_logging(subject: Path | None) -> None:
    """Log to stderr; `subject` (a run folder) marks the lines of runs that go on side by side."""
    name = f" {os.path.basename(os.path.normpath(subject))}:" if subject else ""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format=f"%(asctime)s %(levelname)s{name.replace('%', '%%')} %(message)s",
        datefmt="%H:%M:%S",
    )
