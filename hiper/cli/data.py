"""`hiper data`: the stage that DVC runs, running DVC, and what it would say of the data sets that there are."""

from __future__ import annotations

import argparse

from hiper.cli.command import Commands, declare, existing, path


def add(commands: Commands) -> None:
    parser = commands.add_parser("data", help="make data sets", description="make data sets")
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    make = declare(parts, "make", make_data, "find, fetch or generate the data set of a benchmark file")
    make.add_argument("configuration", type=path, metavar="CONFIG", help="a file of configs/benchmark")
    make.add_argument("--output", type=path, required=True, metavar="DIR", help="the data set's folder")
    declare(
        parts, "status", status, "which data sets are made here, and whether what they are made of has changed since"
    )
    repro = declare(parts, "repro", reproduce, "bring a data set up to date: it is made if anything changed")
    repro.add_argument("benchmark", metavar="BENCHMARK", help="a file name in configs/benchmark, without .yaml")
    repro.add_argument("--force", action="store_true", help="make it anew though nothing has changed")


def make_data(arguments: argparse.Namespace) -> int:
    from hiper.stages import data

    data.make(existing(arguments.configuration), arguments.output)
    return 0


def status(arguments: argparse.Namespace) -> int:
    from hiper.stages import reproduction

    states = reproduction.states()
    for name, state in states.items():
        print(f"{name:{max(map(len, states))}}  {state}")
    return 0


def reproduce(arguments: argparse.Namespace) -> int:
    from hiper.stages import reproduction

    reproduction.reproduce(arguments.benchmark, arguments.force)
    return 0
