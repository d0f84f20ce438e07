"""The stages between games and evaluation: demonstrations, tokenizer, warm start, training, evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, data_option, declare, existing, run_folder, settings_of


def add(commands: Commands) -> None:
    _add_preparation(commands)
    warmstart = declare(commands, "warmstart", run_warmstart, "SFT on demonstrations: the model that RL starts from")
    run_folder(warmstart)
    warmstart.add_argument("--demonstrations", type=Path, metavar="FILE", help="not needed for warm_start.method: none")
    warmstart.add_argument("--tokenizer", type=Path, metavar="DIR", help="for models made from scratch")

    train = declare(commands, "train", run_training, "RL; a run that was cut short resumes")
    run_folder(train)
    train.add_argument("--start", type=Path, required=True, metavar="MODEL_DIR", help="the model folder to start from")

    evaluate = declare(commands, "evaluate", run_evaluation, "play the evaluation splits with a run's model")
    run_folder(evaluate)
    for parser in (warmstart, train, evaluate):
        data_option(parser)


def _add_preparation(commands: Commands) -> None:
    demonstrations = declare(commands, "demonstrations", make_demonstrations, "expert episodes as a chat dataset")
    demonstrations.add_argument("configuration", type=Path, metavar="CONFIG", help="a composed config.yaml")
    demonstrations.add_argument("--output", type=Path, required=True, metavar="DIR")
    data_option(demonstrations)

    tokenizer = declare(commands, "tokenizer", make_tokenizer, "a byte-level BPE learned from demonstrations")
    tokenizer.add_argument("configuration", type=Path, metavar="CONFIG", help="a composed config.yaml")
    tokenizer.add_argument("--demonstrations", type=Path, required=True, metavar="FILE")
    tokenizer.add_argument("--output", type=Path, required=True, metavar="DIR")


def make_demonstrations(arguments: argparse.Namespace) -> int:
    from hiper.compose import read_config
    from hiper.stages import demonstrations

    demonstrations.make(read_config(arguments.configuration), arguments.data, arguments.output)
    return 0


def make_tokenizer(arguments: argparse.Namespace) -> int:
    from hiper.compose import read_config
    from hiper.stages import tokenizer

    tokenizer.make(read_config(arguments.configuration), existing(arguments.demonstrations), arguments.output)
    return 0


def run_warmstart(arguments: argparse.Namespace) -> int:
    from hiper.stages import warmstart

    folder = Path(arguments.subject)
    warmstart.run(settings_of(folder), arguments.demonstrations, arguments.tokenizer, folder, arguments.data)
    return 0


def run_training(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.subject)
    settings = settings_of(folder)
    start = existing(arguments.start)
    from hiper.stages import training  # after the checks: this import takes seconds

    training.run(settings, start, folder, arguments.data)
    return 0


def run_evaluation(arguments: argparse.Namespace) -> int:
    folder = Path(arguments.subject)
    settings = settings_of(folder)
    from hiper.stages import evaluation  # after the checks: this import takes seconds

    evaluation.run(settings, folder, arguments.data)
    return 0
