"""`hiper report` writes tables, figures and a page, `hiper summary` prints the short version, `hiper compare` says
whether two runs of an experiment are the same, `hiper diff` what two experiments differ in, `hiper choose` which of
some trials was best, `hiper pack` and `hiper unpack` carry what stands behind the tables."""

from __future__ import annotations

import argparse

from hiper.cli.command import Commands, declare, existing, path, results
from hiper.errors import UserError


def add(commands: Commands) -> None:
    for name, handler, summary in (
        ("report", report, "tables and figures of an experiment, and one page with all of it"),
        ("summary", summarise, "print an experiment's success table and where everything is"),
    ):
        parser = declare(commands, name, handler, summary)
        parser.add_argument(
            "experiment", type=results, metavar="EXPERIMENT", help="results/<experiment>, or the name alone"
        )
    parser = declare(commands, "compare", compare, "are two runs of an experiment equal, byte for byte?")
    parser.add_argument("first", type=results, metavar="EXPERIMENT", help="results/<experiment>, or the name alone")
    parser.add_argument("second", type=results, metavar="OTHER", help="the same experiment, run elsewhere or earlier")
    parser.add_argument(
        "--results-only",
        action="store_true",
        help="compare what was computed; leave out commit, versions, command lines, settings and report.html",
    )
    parser = declare(commands, "choose", choose, "which of some trials was best on validation tasks, by algorithm")
    parser.add_argument(
        "trials",
        type=results,
        nargs="+",
        metavar="TRIAL_DIR",
        help="results/<experiment> of each trial, first the one with the common settings: of equals it is chosen",
    )
    parser.add_argument(
        "--record", type=path, required=True, metavar="FILE.csv", help="written there: configs/trials/<experiment>.csv"
    )
    parser = declare(commands, "diff", diff, "what two experiments differ in: settings, success, learning curves")
    for side in ("first", "second"):
        named = "a folder of results (unpacked evidence, too), or the name of an experiment that has run"
        parser.add_argument(side, type=results, metavar="AB"[side == "second"], help=named)
    parser.add_argument("--picture", type=path, metavar="FILE.png", help="default: results/diff-A-B.png")
    parser = declare(commands, "pack", pack, "what stands behind an experiment's tables, without weights, in one file")
    parser.add_argument(
        "experiment", type=results, metavar="EXPERIMENT", help="results/<experiment>, or the name alone"
    )
    parser.add_argument("archive", type=path, metavar="FILE.tar.xz", help="written there")
    parser = declare(commands, "unpack", unpack, "tables, figures and page again from such a file")
    parser.add_argument("archive", type=path, metavar="FILE.tar.xz", help="written by `hiper pack`")
    parser.add_argument("experiment", type=path, metavar="EXPERIMENT_DIR", help="a new folder for them")


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

    first, second, results_only = existing(arguments.first), existing(arguments.second), arguments.results_only
    total, differences = comparison.compare(first, second, results_only)
    for difference in differences:
        print(f"{difference.path}: {difference.problem}")
    equal = f"{total - len(differences)}/{total} files are equal"
    if results_only:
        print(f"{equal} in what was computed; left out: commit, versions, command lines, settings and report.html")
    elif differences and not any(difference.computed for difference in differences):
        print(f"{equal}, the others in what was computed: they differ in commit, versions, command lines or settings")
    else:
        print(equal)
    return 1 if differences else 0


def choose(arguments: argparse.Namespace) -> int:
    from hiper.report import choice

    print(choice.choose([existing(folder) for folder in arguments.trials], arguments.record))
    return 0


def diff(arguments: argparse.Namespace) -> int:
    from hiper.report import diff as differences

    first, second = existing(arguments.first), existing(arguments.second)
    for folder in (first, second):
        if not (folder / "runs").is_dir():
            raise UserError(f"{folder}: holds no experiment's results (a folder runs)")
    for text in differences.diff(first, second, arguments.picture or differences.default_picture(first, second)):
        print(f"{text}\n")
    return 0


def pack(arguments: argparse.Namespace) -> int:
    from hiper.runs import evidence

    size = evidence.pack(existing(arguments.experiment), arguments.archive)
    print(f"{arguments.archive}: {size / 1e6:.2f} MB")
    return 0


def unpack(arguments: argparse.Namespace) -> int:
    from hiper.report import outputs
    from hiper.runs import evidence

    evidence.unpack(existing(arguments.archive), arguments.experiment)
    print(f"{arguments.experiment}: unpacked; now its tables, figures and page, which may take minutes …", flush=True)
    outputs.write_report(arguments.experiment)
    print(f"{arguments.experiment / outputs.PAGE} has it on one page, `hiper summary {arguments.experiment}` in brief")
    return 0
