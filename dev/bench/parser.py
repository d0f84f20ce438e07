"""The turn parser on hostile text: does its time grow in step with the length of the text?

There is no other parser to compare with. Each shape is parsed at lengths that double; time(2n) / time(n) is 2 where the
time is linear in the length, 4 where it is quadratic.

Times are processor time of one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from hiper.plan_execute import ParsedTurn, parse, render

KILOBYTE = 1024
SIZES = tuple(64 * KILOBYTE << step for step in range(7))  # 64 kB to 4 MB
MOST = 3.0  # a median ratio over this is no longer linear, however noisy the machine
LEAST_CHARACTERS = 1 << 20  # parsed per round: short texts several times over

Parser = Callable[[str, Sequence[int]], ParsedTurn]


def _filled(piece: str, size: int) -> str:
    return (piece * (size // len(piece) + 1))[:size]


SHAPES: dict[str, Callable[[int], str]] = {
    "valid blocks again and again": lambda size: _filled(render(True, "find a mug", "look"), size),
    "opening tags without closing": lambda size: _filled("<switch><subgoal><action>", size),
    "closing tags without opening": lambda size: _filled("</switch></subgoal></action>", size),
    "closing tags before opening": lambda size: _filled("</action>", size // 2) + _filled("<action>", size // 2),
    "thoughts again and again": lambda size: _filled("<think><action></think>", size),
    "tags cut short": lambda size: _filled("<action</action<subgoal</subgoal", size),
    "angle brackets": lambda size: _filled("<", size),
    "one endless subgoal": lambda size: "<switch>KEEP</switch><subgoal>" + _filled("go to <action>desk ", size),
    "interleaved tags": lambda size: _filled("<switch><subgoal></switch><action></subgoal></action>", size),
    "blanks": lambda size: "<action>" + " " * size + "</action>",
    "letters of many bytes": lambda size: _filled("\N{GRINNING FACE}\u4e2d\u0301", size),
}


def require_same(shape: str, make: Callable[[int], str], sizes: Sequence[int], parser: Parser) -> None:
    """Disagreement unless the shape says the same at every length: what is found does not depend on how much there
    is."""
    first = _found(parser, make(sizes[0]))
    for size in sizes[1:]:
        if (found := _found(parser, make(size))) != first:
            raise Disagreement(f"{shape}: {found} at {size} characters, {first} at {sizes[0]}")


def _found(parser: Parser, text: str) -> tuple[bool, bool, tuple[str, ...], tuple[bool, bool, bool]]:
    turn = parser(text, range(len(text) + 1))
    present = (turn.switch_span is not None, turn.subgoal_span is not None, turn.action_span is not None)
    return turn.switch, turn.valid, turn.problems, present


def measure(budget: Budget, *, sizes: Sequence[int] = SIZES, parser: Parser = parse) -> Result:
    """Time every shape at every length; each shape has its share of the budget's seconds."""
    share = Budget(budget.rounds, budget.seconds / len(SHAPES))
    comparisons, slowest = [], ("", 0.0)
    for shape, make in SHAPES.items():
        require_same(shape, make, sizes, parser)
        comparison = _time(shape, [make(size) for size in sizes], sizes, parser, share)
        comparisons.append(comparison)
        slowest = max(slowest, *((shape, comparison.ratio(name).median) for name in comparison.ratios), key=_second)
    bound = "" if slowest[1] <= MOST else python_shares(lambda: parser(SHAPES[slowest[0]](sizes[-1]), ()))
    target = Target(
        "largest median of time(2n) / time(n)",
        f"at most {MOST:g} (2: linear, 4: quadratic)",
        slowest[1],
        slowest[1] <= MOST,
        bound,
    )
    checks = ["every shape gives the same switch, validity, problems and blocks at every length"]
    settings = {"shapes": len(SHAPES), "characters": list(sizes), "threads": 1}
    notes = [f"The largest ratio is that of: {slowest[0]}."]
    return Result("parser", settings, checks, comparisons, [target], notes)


def _second(pair: tuple[str, float]) -> float:
    return pair[1]


def _time(shape: str, texts: Sequence[str], sizes: Sequence[int], parser: Parser, budget: Budget) -> Comparison:
    """Character offsets stand for token offsets: as many tokens as a response can have."""

    def side(text: str, size: int) -> Side:
        repeats = max(1, min(LEAST_CHARACTERS, sizes[-1]) // size)

        def run(number: int) -> float:
            for _ in range(repeats):
                parser(text, range(len(text) + 1))
            return repeats

        return Side(_size(size), run)

    sides = [side(text, size) for text, size in zip(texts, sizes, strict=True)]
    doublings = {_size(large): _size(small) for small, large in pairwise(sizes)}
    return replace(interleave(shape, "text", sides, doublings, budget, time.process_time), brief=True)


def _size(size: int) -> str:
    return f"{size // KILOBYTE} kB" if size % KILOBYTE == 0 else f"{size} B"
