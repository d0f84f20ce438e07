"""`hiper play`: play a game yourself, or watch the expert or a run's model play it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.cli.command import Commands, data_option, declare, natural, results, settings_of
from hiper.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from hiper.config import BenchmarkSettings

EXAMPLES = """\
hiper play BENCHMARK                     play yourself, the first game of the last split
hiper play BENCHMARK --expert --pause 1  watch the scripted expert
hiper play --run RUN_DIR --number 17     watch a run's model
"""


def add(commands: Commands) -> None:
    parser = declare(commands, "play", play, "play a game oneself, or watch the expert or a trained model play it")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", metavar="BENCHMARK", nargs="?", help="a file of configs/benchmark, without .yaml")
    parser.add_argument("--expert", action="store_true", help="the scripted expert plays BENCHMARK")
    parser.add_argument("--run", type=results, metavar="RUN_DIR", help="this run's model plays its own benchmark")
    parser.add_argument("--filter", metavar="WORDS", help="of the run's name, where RUN_DIR is an experiment's folder")
    parser.add_argument("--split", metavar="NAME", help="train, or a split of evaluation (default: the last of these)")
    game = parser.add_mutually_exclusive_group()
    game.add_argument("--number", type=natural, default=0, metavar="N", help="of the game in its split (default: 0)")
    game.add_argument("--task", metavar="TEXT", help="the first game with this in its name")
    parser.add_argument("--temperature", type=_not_negative, metavar="T", help="default: the first one of evaluation")
    parser.add_argument("--seed", type=natural, default=0, metavar="S", help="of the model's sampling (default: 0)")
    parser.add_argument("--pause", type=_not_negative, default=0.0, metavar="SECONDS", help="between turns")
    data_option(parser)


def play(arguments: argparse.Namespace) -> int:
    from hiper.views.terminal import console

    if (arguments.benchmark is None) == (arguments.run is None):
        raise UserError("give either BENCHMARK (to play, or to watch the --expert) or --run RUN_DIR (to watch a model)")
    if arguments.run is None:
        _play_benchmark(arguments, console())
    elif arguments.expert:
        raise UserError("--expert plays a BENCHMARK, not a run: give one of --expert and --run")
    else:
        _watch_run(arguments, console())
    return 0


def _play_benchmark(arguments: argparse.Namespace, screen: Console) -> None:
    from hiper.compose import configuration_file, load_benchmark
    from hiper.views import play as views

    if arguments.temperature is not None:
        raise UserError("--temperature is for a model: give --run RUN_DIR")
    settings = load_benchmark(configuration_file("benchmark", arguments.benchmark, Path.cwd()))
    benchmark = views.open_benchmark(settings, arguments.data)
    tasks = benchmark.tasks(settings.splits.named(_split(arguments.split, settings)))
    game = views.pick(benchmark, tasks, arguments.number, arguments.task)
    if arguments.expert:
        views.watch_expert(screen, game, arguments.seed, arguments.pause)
    else:
        views.play_oneself(screen, game, settings.max_turns, _read_line)


def _watch_run(arguments: argparse.Namespace, screen: Console) -> None:
    from hiper.views import chosen_run
    from hiper.views import play as views

    folder: Path = chosen_run.chosen(arguments.run, arguments.filter)
    settings = settings_of(folder)
    benchmark = views.open_benchmark(settings.benchmark, arguments.data)
    evaluated = settings.evaluation.temperatures[0]
    temperature = evaluated if arguments.temperature is None else arguments.temperature
    policy = views.model_of(folder, settings, temperature, arguments.data)
    from hiper.records import absolute
    from hiper.stages.evaluation import evaluation_tasks  # after the checks: this import takes seconds

    split = _split(arguments.split, settings.benchmark)
    if split == "train":
        tasks = list(benchmark.tasks(settings.benchmark.splits.train))
    else:
        tasks = evaluation_tasks(settings, benchmark, split, "exhaustive")
    game = views.pick(benchmark, tasks, arguments.number, arguments.task)
    remark = f"played by {absolute(folder).name}, T = {temperature:g}"
    views.watch_model(screen, game, policy, settings.prompt, arguments.seed, arguments.pause, remark)
    if split in settings.evaluated_splits and temperature in settings.evaluation.temperatures:
        name = f"{split}:{temperature:g}:{game.number}"
        screen.print("Evaluation draws for many games at once, so this one may have gone otherwise there:", style="dim")
        screen.print(f"hiper inspect {folder} {name}", style="dim", soft_wrap=True)


def _split(name: str | None, benchmark: BenchmarkSettings) -> str:
    """The split asked for, else the last one of evaluation; UserError where the benchmark has none of that name."""
    known = ["train", *benchmark.splits.evaluation]
    if name is None:
        return known[-1]
    if name not in known:
        raise UserError(f"--split {name}: benchmark {benchmark.dataset} has the splits {', '.join(known)}")
    return name


def _read_line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    if not sys.stdin.isatty():
        print(line, end="")  # what came through a pipe is to be seen as if typed
    return line


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must not be negative")
    return value
