"""`hiper doctor`: what this machine can run, what is missing and how to get it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hiper.cli.command import Commands, declare


def add(commands: Commands) -> None:
    summary = "what this machine can run, what is missing and how to get it"
    parser = declare(commands, "doctor", doctor, summary)
    parser.description = f"{summary}; exit status 1 when the demo (or the experiment named) cannot run here"
    experiment = parser.add_mutually_exclusive_group()
    experiment.add_argument("named", metavar="EXPERIMENT", nargs="?", help="what it needs (default: the demo)")
    experiment.add_argument("--experiment", metavar="NAME", help="the same")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        default=[],
        help="its jobs go where this Snakemake profile sends them, as to Slurm's nodes; several as for snakemake",
    )


def doctor(arguments: argparse.Namespace) -> int:
    from hiper.views.doctor import able, look, show
    from hiper.views.profiles import profile_of

    profile, experiment = profile_of(arguments.profile, Path.cwd()), arguments.named or arguments.experiment
    print(f"looking at packages, this machine and {_looked_at(experiment)} …", file=sys.stderr, flush=True)
    findings = look(Path.cwd(), experiment, profile)
    subject = f"experiment {experiment}" if experiment else "the demo"
    try:
        from hiper.views.terminal import console
    except ImportError:  # an environment so incomplete that even the tables' package is missing
        kept = list(findings)
        for finding in kept:
            print(f"{finding.state:9}{finding.section} {finding.name}: {finding.detail} {finding.remedy}".rstrip())
        return 0 if able(kept) else 1
    return 0 if show(console(), findings, subject) else 1


def _looked_at(experiment: str | None) -> str:
    """Counted by files alone: what reads them comes later."""
    if experiment:
        return f"experiment {experiment}"
    count = len([*Path("configs/experiment").glob("*.yaml")])
    return f"{count} experiment{'' if count == 1 else 's'}"
