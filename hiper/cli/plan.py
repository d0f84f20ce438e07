"""`hiper plan`: what an experiment would cost."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from hiper.cli.command import Commands, declare
from hiper.planning.assumptions import Assumptions
from hiper.planning.hardware import CARDS


def add(commands: Commands) -> None:
    summary = "what an experiment would cost: jobs, disk, GPU-hours, memory, by counting"
    parser = declare(commands, "plan", plan, summary)
    parser.description = f"{summary}; nothing is run, and all that is assumed is printed"
    parser.add_argument("experiment", metavar="EXPERIMENT", help="a file name in configs/experiment, without .yaml")
    parser.add_argument("--gpu", choices=CARDS, default="h100", help="(default: h100)")
    parser.add_argument("--engine", metavar="NAME", help="a file of configs/engine (default: the experiment's own)")
    parser.add_argument(
        "--lora", type=int, metavar="RANK", help="train adapters of this rank, 0: all weights (default: model.lora)"
    )
    default = Assumptions()
    for name, unit, text in (
        ("flops", "TFLOPS", "10^12 operations per second in bfloat16, in place of the GPU's"),
        ("bandwidth", "TB/S", "of its memory, in place of the GPU's"),
        ("memory", "GB", "in place of the GPU's"),
        ("gpus", "N", "of one run (default: as the experiment's engine has)"),
        ("mfu", "SHARE", f"of the peak rate reached in passes over whole sequences (default: {default.mfu})"),
        ("bandwidth-share", "SHARE", f"of the bandwidth reached in generation (default: {default.bandwidth_share})"),
        ("turn-seconds", "S", f"between two turns of an episode (default: {default.turn_seconds})"),
        ("cached", "SHARE", f"of prompt tokens found in a prefix cache (default: {default.cached})"),
        ("host-nanoseconds", "NS", f"of a core, per offloaded parameter (default: {default.host_nanoseconds})"),
        ("pcie", "GB/S", f"between a GPU and the host's memory (default: {default.pcie / 1e9:g})"),
        ("writing", "GB/S", f"of a checkpoint, by one process (default: {default.writing / 1e9:g})"),
        ("turn-share", "SHARE", f"mean turns of an episode over its limit (default: {default.turn_share})"),
        ("prompt-tokens", "N", "of a turn (default: by benchmark)"),
        ("response-tokens", "N", "of a turn (default: by benchmark)"),
        ("longest-response", "TIMES", f"longest answer of a batch over the mean (default: {default.longest_response})"),
    ):
        kind = _share if unit == "SHARE" else int if name == "gpus" else _rate if unit == "GB/S" else _positive
        parser.add_argument(f"--{name}", type=kind, metavar=unit, help=text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def _rate(text: str) -> float:
    """10^9 bytes per second, as bytes."""
    if not (value := _positive(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value * 1e9


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return value


def assumptions(arguments: argparse.Namespace) -> Assumptions:
    """The defaults, with what was given in their place."""
    card = CARDS[arguments.gpu]
    scales = {"flops": 1e12, "bandwidth": 1e12, "memory": 1e9}
    given = {name: getattr(arguments, name) * scale for name, scale in scales.items() if getattr(arguments, name)}
    if given:
        card = replace(card, name=f"{card.name}, altered", **given)
    names = (
        "gpus",
        "mfu",
        "bandwidth_share",
        "turn_seconds",
        "cached",
        "turn_share",
        "longest_response",
        "host_nanoseconds",
        "pcie",
        "writing",
    )
    values = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    prompt, response = arguments.prompt_tokens, arguments.response_tokens
    return Assumptions(card=card, prompt=prompt, response=response, **values)


def plan(arguments: argparse.Namespace) -> int:
    from hiper.views.plan import show
    from hiper.views.terminal import console

    show(console(), arguments.experiment, Path.cwd(), assumptions(arguments), arguments.engine, arguments.lora)
    return 0
