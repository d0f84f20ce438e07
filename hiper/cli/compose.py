"""`hiper compose`: one run's configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, declare, path


def add(commands: Commands) -> None:
    parser = declare(commands, "compose", compose, "compose and validate the configuration of one run")
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a file name in configs/experiment, without .yaml")
    parser.add_argument("run", metavar="RUN", help="<benchmark>-<model>-<algorithm or warmstart>-seed<n>")
    parser.add_argument("--output", type=path, required=True, metavar="FILE", help="where config.yaml is written")


def compose(arguments: argparse.Namespace) -> int:
    from hiper.compose import compose_run, write_config

    write_config(compose_run(arguments.experiment, arguments.run, Path.cwd()), arguments.output)
    return 0
