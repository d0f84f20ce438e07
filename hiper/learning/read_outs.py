"""Where value heads read a turn, by the names that algorithms have for it (`heads` of an algorithm).

To add one: a function that keeps the contract of `ReadOut`, and a line in READ_OUTS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hiper.algorithms.interface import EVERY_TOKEN
from hiper.errors import UserError, nearest

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """What a read-out may look at of a turn's response: its `length` in tokens; the place behind its switch and its
    subgoal block (`switch_stop`, `subgoal_stop`; None without the block); the tokens that the policy `chosen` [length].
    """

    length: int
    switch_stop: int | None
    subgoal_stop: int | None
    chosen: npt.NDArray[np.bool_]


ReadOut = Callable[[Answer], Index]
"""Indices into the response's tokens, ascending, *before* each of which a value head reads the state: after the prompt
and the tokens before that one. Exactly one, but for `every_token`, whose values have an axis for tokens."""


def prompt(answer: Answer) -> Index:
    """Before the first token of the response (the released code's place of V_high and V_switch)."""
    return np.array([0])


def after_subgoal(answer: Answer) -> Index:
    """Before the first token after the subgoal block, else after the switch block, else as `prompt` (the released
    code's place of V_low)."""
    stop = answer.switch_stop if answer.subgoal_stop is None else answer.subgoal_stop
    return np.array([0 if stop is None else min(stop, answer.length - 1)])


def every_token(answer: Answer) -> Index:
    """Before every token that the policy chose."""
    return np.flatnonzero(answer.chosen)


def after_answer(answer: Answer) -> Index:
    """Before the last token of the response: after all that it says."""
    return np.array([answer.length - 1])


READ_OUTS: dict[str, ReadOut] = {
    "prompt": prompt,
    "after_subgoal": after_subgoal,
    EVERY_TOKEN: every_token,
    "answer": after_answer,
}


def require_read_outs(names: Iterable[str], algorithm: str | None = None) -> None:
    """UserError for a name that READ_OUTS lacks; it names the `algorithm` whose heads want it."""
    for name in names:
        if name not in READ_OUTS:
            whose = f"algorithm {algorithm}: a value head" if algorithm else "a value head"
            raise UserError(
                f"{whose} reads at {name!r}: no read-out has this name in hiper/learning/read_outs.py, which has: "
                f"{', '.join(sorted(READ_OUTS))}{nearest(name, READ_OUTS)}"
            )
