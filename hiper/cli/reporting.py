"""`hiper report` writes tables, figures and a page, `hiper summary` prints the short version, `hiper compare` says
whether two runs of an experiment are the same."""

from __future__ import annotations

import argparse

from hiper.cli.command import Commands, declare, existing, path


def add(commands: Commands) -> None:
    for name, handler, summary in (
        ("report", report, "tables and figures of an experiment, and one page with all of it"),
        ("summary", summarise, "print an experiment's success table and where everything is"),
    ):
        parser = declare(commands, name, handler, summary)
        parser.add_argument("experiment", type=path, metavar="EXPERIMENT_DIR", help="results/<experiment>")
    parser = declare(commands, "compare", compare, "are two runs of an experiment equal, byte for byte?")
    parser.add_argument("first", type=path, metavar="EXPERIMENT_DIR", help="results/<experiment>")
    parser.add_argument("second", type=path, metavar="OTHER_DIR", help="the same experiment, run elsewhere or earlier")


def report(arguments: argparse.Namespace) -> int:
    from hiper.report import outputs

    outputs.write_report(existing(arguments.experiment))
    return 0


def summarise(arguments: argparse.Namespace) -> int:
    from hiper.report import outputs

    print(outputs.summary(existing(arguments.experiment)))
    return 0


def compare(arguments: argparse.Namespace) -> int:
    from hiper.runs import comparison

    total, differences = comparison.compare(existing(arguments.first), existing(arguments.second))
    for difference in differences:
        print(f"{difference.path}: {difference.problem}")
    print(f"{total - len(differences)}/{total} files are equal")
    return 1 if differences else 0
