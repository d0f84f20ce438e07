"""`python -m dev.bench`: this code against the obvious alternative, both measured in one run.

The last line is for programs. Exit status: 0 measured (targets met or not), 1 the sides did not compute the same thing,
or a target is missed under `--check`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hiper.cli.command import Commands, Handler, declare, existing, path
from hiper.cli.main import run
from hiper.errors import UserError

if TYPE_CHECKING:
    from dev.bench.measure import Budget, Result
    from dev.bench.models import Machine

SHAPES = ("tiny", "small", "vocabulary", "0.5b", "1.5b")
WIDTH = 120  # of what is not written to a terminal


def build_parser() -> argparse.ArgumentParser:
    summary = "How fast this is, against the obvious alternative: both sides in one run, after a check that they agree."
    parser = argparse.ArgumentParser(prog="python -m dev.bench", description=summary)
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    hae = _declare(parts, "hae", bench_hae, "hierarchical advantages against a per-turn loop", 40, 20)
    hae.add_argument("--trajectories", type=_count, default=128, metavar="N")
    hae.add_argument("--turns", type=_count, default=50, metavar="N", help="of each trajectory (default: 50)")

    alfworld = _declare(parts, "alfworld", bench_alfworld, "the native ALFWorld engine against TextWorld", 12, 60)
    alfworld.add_argument(
        "--data",
        type=path,
        metavar="DIR",
        help="a data set of games (default: data/alfworld_test, generated for the occasion if it is not there)",
    )
    alfworld.add_argument("--games", type=_count, default=4, metavar="N", help="how many of them (default: 4)")

    babyai = _declare(parts, "babyai", bench_babyai, "BabyAI in words against the bare package", 108, 60)
    babyai.add_argument(
        "--episodes",
        type=_count,
        default=4,
        metavar="N",
        help="of each level in configs/benchmark/babyai.yaml (default: 4)",
    )

    webshop = _declare(parts, "webshop", bench_webshop, "WebShop: playing, and searching against a plain index", 7, 30)
    webshop.add_argument(
        "--data", type=path, metavar="DIR", help="WebShop's raw files of 1,000 products (default: generated products)"
    )
    webshop.add_argument(
        "--products", type=_count, default=1000, metavar="N", help="make so many of their texts (default: 1000)"
    )

    rollout = _declare(parts, "rollout", bench_rollout, "sampling turns against transformers' generate", 7, 60)
    rollout.add_argument("--shape", choices=SHAPES, default="tiny", help="of the model (default: tiny, the demo's)")
    rollout.add_argument("--batch", type=_count, default=64, metavar="N", help="prompts in a batch (default: 64)")
    _machine_options(rollout)

    train = _declare(parts, "train", bench_train, "a packed PPO mini-batch against padded batches, full logits", 5, 90)
    train.add_argument(
        "--shape",
        choices=SHAPES,
        action="append",
        help="of the model, may be repeated (default: tiny, the demo's, and vocabulary, which has Qwen2.5's)",
    )
    train.add_argument("--turns", type=_count, default=16, metavar="N", help="in the mini-batch (default: 16)")
    train.add_argument("--flops", type=float, metavar="TFLOPS", help="the device's peak, where it is no GPU known here")
    train.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="time this project's side with engine.compile, too (default: on cuda)",
    )
    _machine_options(train)

    smollm = _declare(parts, "smollm", bench_smollm, "a real model's sizes: playing and training SmolLM2-135M", 3, 60)
    smollm.add_argument("--style", choices=("compact", "full"), default="compact", help="of prompts (default: compact)")
    smollm.add_argument("--episodes", type=_count, default=4, metavar="N", help="played together (default: 4)")
    smollm.add_argument("--rows", type=_count, default=3, metavar="N", help="turns in the mini-batch (default: 3)")
    _machine_options(smollm, dtype="bfloat16 where the processor has it, else float32")

    for seeded in (hae, alfworld, babyai, webshop, rollout, train, smollm):
        seeded.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")

    _declare(parts, "parser", bench_parser, "the turn parser: time against length on hostile texts", 5, 60)
    return parser


def _declare(
    parts: Commands, name: str, handler: Handler, summary: str, rounds: int, seconds: int
) -> argparse.ArgumentParser:
    """A benchmark with the options that all have; `rounds` and `seconds` are its defaults."""
    parser = declare(parts, name, handler, summary)
    parser.add_argument(
        "--rounds", type=_count, default=rounds, metavar="N", help=f"at most so many (default: {rounds})"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=seconds,
        metavar="S",
        help=f"begin no further round after S seconds of measuring, but run three (default: {seconds})",
    )
    parser.add_argument("--json", type=path, metavar="FILE", help="write every figure there")
    parser.add_argument("--check", action="store_true", help="exit with status 1 when a target is missed")
    return parser


def _machine_options(parser: argparse.ArgumentParser, dtype: str = "float32, on cuda bfloat16 (autocast)") -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(default: cpu)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help=f"default: {dtype}")
    parser.add_argument("--threads", type=_count, default=1, metavar="N", help="of both sides (default: 1)")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def bench_hae(arguments: argparse.Namespace) -> int:
    from dev.bench import hae

    sizes = {"trajectories": arguments.trajectories, "turns": arguments.turns}
    return _conclude(arguments, lambda budget: hae.measure(budget, seed=arguments.seed, **sizes))


def bench_alfworld(arguments: argparse.Namespace) -> int:
    from dev.bench import alfworld

    data = existing(arguments.data) if arguments.data is not None else None
    return _conclude(
        arguments, lambda budget: alfworld.measure(budget, data=data, count=arguments.games, seed=arguments.seed)
    )


def bench_babyai(arguments: argparse.Namespace) -> int:
    from dev.bench import babyai

    sizes = {"episodes": arguments.episodes, "seed": arguments.seed}
    return _conclude(arguments, lambda budget: babyai.measure(budget, root=Path.cwd(), **sizes))


def bench_webshop(arguments: argparse.Namespace) -> int:
    from dev.bench import webshop

    data = existing(arguments.data) if arguments.data is not None else None
    sizes = {"count": arguments.products, "seed": arguments.seed}
    return _conclude(arguments, lambda budget: webshop.measure(budget, root=Path.cwd(), data=data, **sizes))


def bench_rollout(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    from dev.bench import rollout

    sizes = {"shape": arguments.shape, "batch": arguments.batch}
    return _conclude(arguments, lambda budget: rollout.measure(budget, machine=machine, seed=arguments.seed, **sizes))


def bench_train(arguments: argparse.Namespace) -> int:
    machine = _machine(arguments)
    from dev.bench import train

    sizes = {"shapes": arguments.shape or ["tiny", "vocabulary"], "turns": arguments.turns, "seed": arguments.seed}
    sizes["compiles"] = machine.device == "cuda" if arguments.compile is None else arguments.compile
    peak = arguments.flops * 1e12 if arguments.flops else None
    return _conclude(arguments, lambda budget: train.measure(budget, machine=machine, peak=peak, **sizes))


def bench_smollm(arguments: argparse.Namespace) -> int:
    from dev.bench import smollm
    from hiper.manifest import bfloat16_units

    arguments.dtype = arguments.dtype or ("bfloat16" if arguments.device == "cuda" or bfloat16_units() else "float32")
    machine = _machine(arguments)

    sizes = {name: getattr(arguments, name) for name in ("style", "episodes", "rows", "seed")}
    return _conclude(arguments, lambda budget: smollm.measure(budget, machine=machine, **sizes))


def bench_parser(arguments: argparse.Namespace) -> int:
    from dev.bench import parser

    return _conclude(arguments, parser.measure)


def _machine(arguments: argparse.Namespace) -> Machine:
    from dev.bench.models import Machine

    return Machine(
        arguments.device,
        arguments.threads,
        arguments.dtype or ("bfloat16" if arguments.device == "cuda" else "float32"),
    )


def _conclude(arguments: argparse.Namespace, measure: Callable[[Budget], Result]) -> int:
    """Measure, print, write; the sides' disagreement is one message and status 1, without any figure."""
    from rich.console import Console

    from dev.bench.measure import Budget, Disagreement
    from dev.bench.report import show, write

    if not arguments.seconds > 0:
        raise UserError(f"--seconds {arguments.seconds:g}: give a time above 0")
    try:
        result = measure(Budget(arguments.rounds, arguments.seconds))
    except Disagreement as error:
        print(f"bench: {error}; no ratio is shown, because the sides do not compute the same", file=sys.stderr)
        return 1
    console = Console()
    show(result, console if console.is_terminal else Console(width=WIDTH))
    if arguments.json is not None:
        write(result, arguments.json)
    return 0 if result.met or not arguments.check else 1


def main(arguments: Sequence[str] | None = None) -> int:
    return run(build_parser(), arguments)


if __name__ == "__main__":
    sys.exit(main())
