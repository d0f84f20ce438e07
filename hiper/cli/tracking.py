"""`hiper track`: the MLflow mirror of an experiment's files."""

from __future__ import annotations

import argparse

from hiper.cli.command import Commands, declare, existing, port, results, run_folder


def add(commands: Commands) -> None:
    summary = "mirror an experiment's files in its MLflow database"
    parser = commands.add_parser("track", help=summary, description=f"{summary}; the files are the truth")
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, handler, text in (
        ("init", init, "make the database and its experiment, before any run starts"),
        ("sync", sync, "bring the database up to date with the files; safe to repeat"),
        ("rebuild", rebuild, "make the database anew from the files"),
    ):
        command = declare(parts, name, handler, text)
        command.add_argument(
            "experiment", type=results, metavar="EXPERIMENT", help="results/<experiment>, or the name alone"
        )
        command.add_argument(
            "--best-effort", action="store_true", help="report problems as warnings: tracking must not stop a workflow"
        )
    show = declare(parts, "serve", serve, "show an experiment in MLflow's pages, on this machine alone, until Ctrl-C")
    show.add_argument("experiment", type=results, metavar="EXPERIMENT", help="results/<experiment>, or the name alone")
    show.add_argument("--port", type=port, default=5000, metavar="N", help="of 127.0.0.1 (default: 5000)")
    follow = declare(parts, "follow", follow_run, "mirror one run while it goes on, until it ends")
    run_folder(follow)
    follow.add_argument("--process", type=int, metavar="ID", help="stop when this process is gone")


def init(arguments: argparse.Namespace) -> int:
    from hiper import tracking

    tracking.initialize(arguments.experiment, best_effort=arguments.best_effort)
    return 0


def sync(arguments: argparse.Namespace) -> int:
    from hiper import tracking

    tracking.sync(existing(arguments.experiment), best_effort=arguments.best_effort)
    return 0


def rebuild(arguments: argparse.Namespace) -> int:
    from hiper import tracking

    tracking.rebuild(existing(arguments.experiment), best_effort=arguments.best_effort)
    return 0


def serve(arguments: argparse.Namespace) -> int:
    from hiper.tracking import server

    return server.serve(existing(arguments.experiment), arguments.port)


def follow_run(arguments: argparse.Namespace) -> int:
    from hiper import tracking

    tracking.follow(existing(arguments.subject), arguments.process)
    return 0
