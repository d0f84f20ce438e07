"""`hiper report` writes tables and figures, `hiper summary` shows the short version in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, declare, existing


def add(commands: Commands) -> None:
    for name, handler, summary in (
        ("report", report, "tables and figures of an experiment"),
        ("summary", summarise, "print an experiment's success table and where everything is"),
    ):
        parser = declare(commands, name, handler, summary)
        parser.add_argument("experiment", type=Path, metavar="EXPERIMENT_DIR", help="results/<experiment>")


def report(arguments: argparse.Namespace) -> int:
    from hiper.stages import reporting

    reporting.run(existing(arguments.experiment))
    return 0


def summarise(arguments: argparse.Namespace) -> int:
    from hiper.stages import reporting

    print(reporting.summary(existing(arguments.experiment)))
    return 0
