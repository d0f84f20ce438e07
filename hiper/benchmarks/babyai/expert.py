"""The scripted player of BabyAI: the package's own bot, its plan cut into subgoals with names.

The bot plans on the level itself, but with what it has seen only: it keeps a mask of the cells that were in view, and
explores where the mask ends. Its plan is a stack of steps (go next to, pick up, open, drop); a way and what it is gone
for become one subgoal, so that a subgoal is more than one action and less than the mission:

    find the red key            until it has been seen
    go to the red key           where the mission asks for no more
    pick up the red key         the way to it, and picking it up
    open the blue door          the way to it, and opening it
    put the ball next to the box
    put down the red key        where it is in nobody's way
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from minigrid.envs.babyai.core.verifier import ObjDesc
from minigrid.utils.baby_ai_bot import (
    BabyAIBot,
    DisappearedBoxError,
    DropSubgoal,
    GoNextToSubgoal,
    OpenSubgoal,
    PickupSubgoal,
)

from hiper.benchmarks.babyai.levels import make_level, start_level
from hiper.benchmarks.babyai.view import ACTIONS, LEFT, RIGHT
from hiper.benchmarks.experts import Decision
from hiper.benchmarks.seeded import seed_of
from hiper.trajectory import Task

LOCATIONS = {"left": " on your left", "right": " on your right", "front": " in front of you", "behind": " behind you"}


class BabyaiExpert:
    """Plays one episode of a task: `act` once per turn.

    The bot needs the level itself, which follows from the task's seed: the expert has one of its own, on which it
    repeats what it does.

    `hesitation` is the chance that a needless turn to one side comes before the next useful action; never two in a row.
    Where the bot has no plan (a layout it cannot solve) the expert keeps turning, and the episode is lost.
    """

    def __init__(self, task: Task, random: np.random.Generator, hesitation: float) -> None:
        self._random, self._hesitation = random, hesitation
        self._level = make_level(task.task_type)
        start_level(self._level, seed_of(task))
        self._bot = BabyAIBot(self._level)
        self._taken: int | None = None  # the number of the last action
        self._names: list[tuple[Any, str]] = []  # steps of the plan, each with the subgoal that it belongs to
        self._subgoal = ""
        self._hesitated = False
        self._lost = False

    def act(self, observation: str, admissible: Sequence[str]) -> Decision:
        """Decide one turn; the action is always admissible."""
        wanted = self._planned()
        if wanted not in admissible:
            self._lost = True
        if self._lost:
            switch, self._subgoal = self._subgoal != "look around", "look around"
            return Decision(switch, self._subgoal, LEFT)
        subgoal = self._named(self._bot.stack)
        switch, self._subgoal = subgoal != self._subgoal, subgoal
        self._hesitated = not self._hesitated and bool(self._random.random() < self._hesitation)
        action = (LEFT, RIGHT)[int(self._random.integers(2))] if self._hesitated else wanted
        self._taken = ACTIONS.index(action)
        self._level.step(self._taken)
        return Decision(switch, subgoal, action)

    def _planned(self) -> str:
        """The bot's next action; empty where it has none."""
        if self._lost:
            return ""
        try:
            number = self._bot.replan(self._taken)
        except (AssertionError, DisappearedBoxError):  # as the bot says that it cannot go on
            return ""
        return ACTIONS[number] if number < len(ACTIONS) else ""

    def _named(self, stack: list[Any]) -> str:
        """What the top of the bot's stack is for."""
        top, below = stack[-1], stack[-2] if len(stack) > 1 else None
        if not isinstance(top, GoNextToSubgoal):
            return self._known(top) or self._deed(top, self._thing(self._level.front_pos), "")
        if top.reason == "Explore":
            sought = next((step for step in reversed(stack) if isinstance(getattr(step, "datum", None), ObjDesc)), None)
            return f"find {_described(sought.datum)}" if sought else "look around"
        thing = _described(top.datum) if isinstance(top.datum, ObjDesc) else self._thing(top.datum)
        if isinstance(below, PickupSubgoal | OpenSubgoal | DropSubgoal):
            if not self._known(below):
                name = self._deed(below, thing, thing if top.reason == "PutNext" else "")
                self._names.append((below, name))
            return self._known(below)
        if isinstance(top.datum, ObjDesc) or below is None:
            return f"go to {thing}"
        return self._named(stack[:-1])

    def _known(self, step: Any) -> str:
        """What a step of the plan has been called; empty where it has had no name."""
        return next((name for named, name in self._names if named is step), "")

    def _deed(self, step: Any, thing: str, beside: str) -> str:
        if isinstance(step, PickupSubgoal):
            return f"pick up {thing}"
        if isinstance(step, DropSubgoal):
            held = self._level.carrying
            carried = f"the {held.color} {held.type}" if held else "it"
            return f"put {carried} next to {beside}" if beside else f"put down {carried}"
        return f"{'open' if isinstance(step, OpenSubgoal) else 'close'} {thing}"

    def _thing(self, place: Any) -> str:
        """What is at a place of the grid, or what an object is."""
        thing = place if hasattr(place, "color") else self._level.grid.get(*place)
        return f"the {thing.color} {thing.type}" if thing else "it"


def _described(description: ObjDesc) -> str:
    """As the mission says it."""
    words = " ".join(part for part in (description.color, description.type or "object") if part)
    return f"the {words}{LOCATIONS.get(description.loc, '')}"
