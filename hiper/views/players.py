"""Players that are no models, behind the contract of policies: a person at the terminal and the scripted expert."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from rich.columns import Columns
from rich.console import Console
from rich.text import Text

from hiper.benchmarks.experts import Expert
from hiper.benchmarks.record import BenchmarkRecord
from hiper.config import BenchmarkSettings
from hiper.plan_execute import FREE_ACTION, FREE_TEXT, render, render_react
from hiper.policies.base import Request, Response
from hiper.trajectory import Task
from hiper.views.terminal import inline, seen

HELP = "Type the number or the text of an action. `quit`, or the end of input, stops; a typing error costs no turn."


class Quit(Exception):
    """The player has had enough."""


class Person:
    """Shows what there is to see and to do, and asks; `read` gives a line or raises EOFError."""

    def __init__(self, console: Console, read: Callable[[], str], max_turns: int) -> None:
        self.console, self.read, self.max_turns = console, read, max_turns
        self.asked = 0
        self.free = False  # whether this game has shown an action with a free text

    def fits(self, prompt: str) -> bool:
        return True  # it reads no prompt

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        """A flat answer per request; raises Quit when the player stops."""
        return [Response(render_react("", self._answer(request))) for request in requests]

    def _answer(self, request: Request) -> str:
        self.asked += 1
        actions = request.admissible_actions
        self.free |= FREE_ACTION in actions
        self.console.print(Text(seen(request.observation)))
        numbered = [f"{number:>3} {action}" for number, action in enumerate(actions, start=1)]
        self.console.print(Columns(numbered, padding=(0, 2), column_first=True))
        while True:
            typed = self._read()
            if typed.isdecimal() and 1 <= int(typed) <= len(actions):
                return self._filled(actions[int(typed) - 1])
            # a game that knows free texts takes them wherever it is, also where it does not offer them
            if any(_is_form_of(typed, action) for action in (*actions, *([FREE_ACTION] if self.free else []))):
                return self._filled(typed)
            if typed == "help":
                self.console.print(HELP)
            elif typed:
                words = inline(typed)
                meant = f"`{FREE_ACTION.replace(FREE_TEXT, words)}` asks for it, and " if self.free else ""
                self.console.print(f"“{words}” is none of these {len(actions)} actions; {meant}`help` explains.")

    def _filled(self, action: str) -> str:
        """The action, its free text asked for where it still has none."""
        text = ""
        while action == FREE_ACTION and not text:
            text = self._read(FREE_TEXT.strip("<>"))
        return action.replace(FREE_TEXT, text) if text else action

    def _read(self, what: str = "") -> str:
        asked = what or f"turn {self.asked} of {self.max_turns}"
        self.console.print(f"{asked} > ", end="", style="bold")
        try:
            typed = " ".join(self.read().split()).lower()
        except EOFError:
            self.console.print()
            raise Quit from None
        if typed == "quit":
            raise Quit
        return typed


def _is_form_of(typed: str, action: str) -> bool:
    """Is it the action, with any words in the place of its free text?"""
    before, _, after = action.partition(FREE_TEXT)
    long_enough = len(typed) > len(before) + len(after)
    free = action == FREE_ACTION and long_enough
    return typed == action or (free and typed.startswith(before) and typed.endswith(after))


class Scripted:
    """The scripted expert of a benchmark, for one episode of a task, without the hesitation that demonstrations may
    have."""

    def __init__(self, record: BenchmarkRecord[BenchmarkSettings], task: Task, seed: int) -> None:
        self.record, self.task, self.random = record, task, np.random.default_rng(seed)
        self.player: Expert | None = None

    def fits(self, prompt: str) -> bool:
        return True  # it reads no prompt

    def respond(self, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        """A plan-execute answer per request."""
        return [Response(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        if self.player is None:
            self.player = self.record.expert(self.task, request.instruction, self.random, hesitation=0.0)
        decision = self.player.act(request.observation, request.admissible_actions)
        return render(decision.switch, decision.subgoal, decision.action)
