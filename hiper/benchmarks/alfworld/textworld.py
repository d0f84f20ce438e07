"""The reference engine: the game as the installed `alfworld` and TextWorld play it, behind the native engine's verbs.

TextWorld maps a copy of its planner library for every engine and never releases it. Neither does `close` here: after a
release the next load of the library crashed the process. Games of any age are played with the installed logic files:
only the problem and the task sentence are taken from the game.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hiper.benchmarks.alfworld.games import GameText
from hiper.benchmarks.alfworld.rooms import logic_file

_TASK_PLACEHOLDER = "UNKNOWN GOAL."


class TextWorldEngine:
    """Plays one game at a time: `reset`, then `step` any number of times; `close` when done.

    Slow: 0.4 to 5 seconds per reset and about 0.1 per step.
    """

    def __init__(self) -> None:
        # TextWorld loads a native library and a parser generator: only who plays with it should pay for that.
        from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
        from textworld.core import EnvInfos
        from textworld.envs.pddl import PddlEnv

        self._environment: Any = AlfredDemangler(PddlEnv(EnvInfos(won=True, admissible_commands=True)))
        self._game: GameText | None = None
        self._closed = False
        self.admissible: tuple[str, ...] = ()
        self.won = False

    def reset(self, game: GameText) -> str:
        """Start the game and return the welcome, the room and the task."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        with _arguments_kept():
            if game != self._game:
                self._environment.load(_with_installed_logic(game))
                self._game = game
            return self._taken_over(self._environment.reset())

    def step(self, command: str) -> str:
        """Carry out one command; anything inadmissible does nothing."""
        if self._game is None or self._closed:
            raise RuntimeError("step before reset or after close")
        state, _, _ = self._environment.step(command)
        return self._taken_over(state)

    def close(self) -> None:
        """The engine cannot be used afterwards; the mapped planner library stays until the process ends."""
        self._closed = True

    def _taken_over(self, state: Any) -> str:
        self.admissible = tuple(state["admissible_commands"])
        self.won = bool(state["won"])
        return str(state["feedback"])


def _with_installed_logic(game: GameText) -> dict[str, str]:
    sentence = json.dumps(game.instruction, ensure_ascii=False)[1:-1]
    return {
        "pddl_domain": logic_file("alfred.pddl"),
        "grammar": logic_file("alfred.twl2").replace(_TASK_PLACEHOLDER, sentence),
        "pddl_problem": game.problem,
    }


@contextmanager
def _arguments_kept() -> Iterator[None]:
    """TextWorld's PDDL translator overwrites `sys.argv`; give it back."""
    arguments = sys.argv
    try:
        yield
    finally:
        sys.argv = arguments
