"""The levels of `minigrid`: making one, and starting an episode of it from a seed.

The whole of an episode follows from the level and the seed; nothing here touches random numbers that others use.
"""

from __future__ import annotations

import os
from contextlib import redirect_stdout
from typing import Any

import gymnasium
import minigrid  # noqa: F401 (registers its levels with gymnasium)
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel

from hiper.errors import UserError

DONE_ACTIONS = "BABYAI_DONE_ACTIONS"


def make_level(name: str, max_steps: int | None = None) -> RoomGridLevel:
    """The level that the package calls `BabyAI-<name>-v0`, without gymnasium's wrappers; `max_steps` None: as many as
    it allows by itself, depending on its rooms and mission.

    UserError where the environment asks the package for other rules of success, which the action `done` would announce.
    """
    if os.environ.get(DONE_ACTIONS):
        raise UserError(
            f"{DONE_ACTIONS} is set, which makes minigrid wait for an action that is not played here; unset it"
        )
    limit = {} if max_steps is None else {"max_steps": max_steps}
    level: Any = gymnasium.make(f"BabyAI-{name}-v0", disable_env_checker=True, **limit).unwrapped
    assert isinstance(level, RoomGridLevel)
    return level


def start_level(level: RoomGridLevel, seed: int) -> Any:
    """Start the episode of `seed`; the package's first image of the view [7, 7, 3]."""
    with redirect_stdout(None):  # the package prints each layout that it rejects
        observation, _ = level.reset(seed=seed)
    return observation["image"]
