"""The stages between games and evaluation: demonstrations, tokenizer, warm start, training, evaluation; the gradients'
noise."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.cli.command import Commands, data_option, declare, existing, natural, path, run_folder, settings_of

if TYPE_CHECKING:
    from hiper.config import RunSettings


def add(commands: Commands) -> None:
    _add_preparation(commands)
    preflight = declare(commands, "preflight", run_preflight, "try a run's engine and sampler on a tiny model, first")
    preflight.add_argument("configuration", type=path, metavar="CONFIG", help="a composed config.yaml")
    preflight.add_argument("--tokenizer", type=path, metavar="DIR", help="for models made from scratch")
    preflight.add_argument("--output", type=path, required=True, metavar="FILE")
    warmstart = declare(commands, "warmstart", run_warmstart, "SFT on demonstrations: the model that RL starts from")
    run_folder(warmstart)
    warmstart.add_argument("--demonstrations", type=path, metavar="FILE", help="not needed for warm_start.method: none")
    warmstart.add_argument("--tokenizer", type=path, metavar="DIR", help="for models made from scratch")

    train = declare(commands, "train", run_training, "RL; a run that was cut short resumes")
    run_folder(train)
    train.add_argument("--start", type=path, required=True, metavar="MODEL_DIR", help="the model folder to start from")

    evaluate = declare(commands, "evaluate", run_evaluation, "play the evaluation splits with a run's model")
    run_folder(evaluate)
    variance = declare(commands, "variance", measure_variance, "how noisy several algorithms' policy gradients are")
    run_folder(variance)
    variance.add_argument("--algorithms", metavar="A,B,…", help="files of configs/algorithm; default: the grid's")
    variance.add_argument("--batches", type=natural, metavar="N", help="instead of the setting variance.batches")
    variance.add_argument("--output", type=path, metavar="FILE", help="default: <experiment>/variance/<run>.json")
    for parser in (preflight, warmstart, train, evaluate, variance):
        data_option(parser)


def _add_preparation(commands: Commands) -> None:
    demonstrations = declare(commands, "demonstrations", make_demonstrations, "expert episodes as a chat dataset")
    demonstrations.add_argument("configuration", type=path, metavar="CONFIG", help="a composed config.yaml")
    demonstrations.add_argument("--output", type=path, required=True, metavar="DIR")
    data_option(demonstrations)

    tokenizer = declare(commands, "tokenizer", make_tokenizer, "a byte-level BPE learned from demonstrations")
    tokenizer.add_argument("configuration", type=path, metavar="CONFIG", help="a composed config.yaml")
    tokenizer.add_argument("--demonstrations", type=path, required=True, metavar="FILE")
    tokenizer.add_argument("--output", type=path, required=True, metavar="DIR")
    data_option(tokenizer)


def make_demonstrations(arguments: argparse.Namespace) -> int:
    from hiper.compose import read_config
    from hiper.stages import demonstrations

    demonstrations.make(read_config(arguments.configuration), arguments.data, arguments.output)
    return 0


def make_tokenizer(arguments: argparse.Namespace) -> int:
    from hiper.compose import read_config
    from hiper.stages import tokenizer

    settings, rows = read_config(arguments.configuration), existing(arguments.demonstrations)
    tokenizer.make(settings, rows, arguments.output, arguments.data)
    return 0


def run_preflight(arguments: argparse.Namespace) -> int:
    from hiper.compose import read_config

    settings = read_config(arguments.configuration)
    from hiper.stages import preflight  # after the checks: this import takes seconds

    preflight.run(settings, arguments.tokenizer, arguments.output, arguments.data)
    return 0


def run_warmstart(arguments: argparse.Namespace) -> int:
    from hiper.stages import warmstart

    folder = arguments.subject
    warmstart.run(settings_of(folder), arguments.demonstrations, arguments.tokenizer, folder, arguments.data)
    return 0


def run_training(arguments: argparse.Namespace) -> int:
    folder = arguments.subject
    settings = settings_of(folder)
    start = existing(arguments.start)
    from hiper.stages import training  # after the checks: this import takes seconds

    training.run(settings, start, folder, arguments.data)
    return 0


def run_evaluation(arguments: argparse.Namespace) -> int:
    folder = arguments.subject
    settings = settings_of(folder)
    from hiper.stages import evaluation  # after the checks: this import takes seconds

    evaluation.run(settings, folder, arguments.data)
    return 0


def measure_variance(arguments: argparse.Namespace) -> int:
    folder = arguments.subject
    settings = settings_of(folder)
    from hiper.records import absolute

    run = absolute(folder)
    studied = _with_algorithms(settings, run.name, arguments.algorithms, arguments.batches)
    from hiper.runs.run_files import GRADIENTS
    from hiper.stages import gradient_variance  # after the checks: this import takes seconds

    output = arguments.output or run.parents[1] / GRADIENTS / f"{run.name}.json"
    gradient_variance.run(studied, folder, output, arguments.data)
    return 0


def _with_algorithms(
    settings: RunSettings, run: str, algorithms: str | None, batches: int | None
) -> dict[str, RunSettings]:
    """A run's settings with each algorithm in turn as its experiment has it, by the name of the algorithm's file."""
    from hiper.compose import RunName, compose_run, load_grid
    from hiper.config import parse_run

    name, root = RunName.parse(run), Path.cwd()
    grid = load_grid(settings.experiment, root)
    values = settings.model_dump()
    if batches is not None:
        values["variance"]["batches"] = batches
    found = {}
    for algorithm in grid.algorithms if algorithms is None else algorithms.split(","):
        other = compose_run(settings.experiment, str(replace(name, algorithm=algorithm)), root)
        own = {**values, "algorithm": other.algorithm.model_dump()}
        found[algorithm] = parse_run(own, f"run {run} with algorithm {algorithm}")
    return found
