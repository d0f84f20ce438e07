"""`hiper inspect`: the recorded episodes of a run."""

from __future__ import annotations

import argparse
import json

from hiper.cli.command import Commands, declare, natural, run_folder

NAMES = "train:<iteration>:<number>, or <split>:<temperature>:<number> in evaluation"


def add(commands: Commands) -> None:
    parser = declare(commands, "inspect", inspect, "the episodes of a run: a list, or one of them turn by turn")
    run_folder(parser)
    parser.add_argument("--filter", metavar="WORDS", help="of the run's name, where RUN_DIR is an experiment's folder")
    parser.add_argument("episode", metavar="EPISODE", nargs="?", help=f"{NAMES}; without it, they are listed")
    listing = parser.add_argument_group("which episodes are listed (broken ones first)")
    listing.add_argument("--split", metavar="NAME", help="train, or a split of evaluation such as unseen")
    listing.add_argument("--iteration", type=natural, metavar="N", help="of training")
    listing.add_argument(
        "--outcome",
        choices=("won", "lost", "truncated", "failed", "not-won"),
        help="lost: ended by the task; truncated: out of turns; failed: broken by an error; not-won: all three",
    )
    listing.add_argument("--type", dest="task_type", metavar="TYPE", help="a task type or its short name, such as Pick")
    listing.add_argument("--task", metavar="TEXT", help="a part of the game's name or of the task sentence")
    listing.add_argument("--invalid", action="store_true", help="with malformed turns")
    listing.add_argument(
        "--limit", type=natural, default=20, metavar="N", help="how many at most (default: 20; 0: all)"
    )
    details = parser.add_argument_group("how one episode is shown")
    details.add_argument("--turn", type=natural, metavar="N", help="only this turn, counted from 1")
    details.add_argument(
        "--tokens", action="store_true", help="training: every token with its advantage and log probability"
    )
    details.add_argument("--json", action="store_true", help="the record as it is")


def inspect(arguments: argparse.Namespace) -> int:
    from hiper.views import archive, chosen_run, inspection
    from hiper.views.terminal import console

    folder = arguments.subject
    if (runs := chosen_run.runs_of(folder)) is not None:
        found = chosen_run.matching(runs, arguments.filter or "")
        if arguments.episode is None and len(found) > 1:
            inspection.show_runs(console(), folder, found)
            return 0
        folder = chosen_run.chosen(folder, arguments.filter)
    if arguments.episode is None:
        names = ("split", "iteration", "outcome", "task_type", "task", "invalid")
        wanted = archive.Wanted(**{name: getattr(arguments, name) for name in names})
        inspection.show_overview(console(), folder, wanted, arguments.limit)
        return 0
    episode = archive.find(archive.load(folder), arguments.episode)
    if arguments.json:
        print(json.dumps(episode.record, indent=2, sort_keys=True))
    else:
        inspection.show_episode(console(), episode, arguments.turn, arguments.tokens)
    return 0
