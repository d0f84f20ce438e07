"""One stage in this process: `python -m dev.gpu.worker STAGE`. Prints figures as they are measured, a line of JSON
each."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dev.gpu.stages import STAGES

LACKING = 3  # exit status where a package is not installed


@dataclass(frozen=True)
class Sizes:
    """`model` and `large`: names in `hiper.planning.shapes.PUBLISHED`, or TINY. `rows` of `length` tokens with `answer`
    tokens at their end make a batch; `budgets`: tokens of micro-batches; `read_outs`: positions with logits; `turns` of
    an update."""

    model: str
    large: str
    rows: int
    length: int
    answer: int
    budgets: tuple[int, ...]
    read_outs: tuple[int, ...]
    turns: int


TINY = "tiny"
# A turn of the paper's runs has 820 tokens, 40 of them the answer.
SIZES = {
    "paper": Sizes(
        "Qwen/Qwen2.5-1.5B-Instruct",
        "Qwen/Qwen2.5-7B-Instruct",
        20,
        820,
        40,
        (8_192, 16_384, 32_768),
        (800, 6_500),
        256,
    ),
    TINY: Sizes(TINY, TINY, 3, 24, 6, (64, 128), (8, 24), 6),
}


def report(**figures: Any) -> None:
    """Pass these figures on at once: what was passed on is not lost when the stage is cut off."""
    print(json.dumps(figures), flush=True)


Report = Callable[..., None]


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.gpu.worker")
    parser.add_argument("stage", choices=tuple(STAGES))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=tuple(SIZES), default="paper")
    given = parser.parse_args()
    try:
        getattr(import_module(STAGES[given.stage].module), given.stage)(given.device, SIZES[given.size], report)
    except ModuleNotFoundError as error:
        print(f"needs {error.name}, which is not installed here", file=sys.stderr)
        return LACKING
    except Exception as error:  # every way to fail is one line of the stage's
        traceback.print_exc()
        print(said(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
