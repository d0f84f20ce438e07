"""The settings of BabyAI: which levels are played, under which rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hiper.config.benchmark import SeededSettings
from hiper.fields import Distinct

# The package's levels that are played here, each a task type, by the steps its expert takes: from 3 to 61.
Level = Literal[
    "GoToLocalS5N2",
    "GoToLocal",
    "GoToObj",
    "PickupLoc",
    "PutNextLocalS5N3",
    "OpenDoor",
    "PutNextLocal",
    "UnlockLocal",
    "KeyCorridorS3R1",
    "UnlockPickup",
    "MiniBossLevel",
    "BlockedUnlockPickup",
    "KeyCorridorS3R2",
    "KeyCorridorS3R3",
]


class BabyaiSettings(SeededSettings):
    """`max_turns` takes the place of the level's own limit of steps. `reward`: a won mission pays `success_reward`, or
    with `discounted` the package's share of it, 1 − 0.9·steps/max_turns. `memory`: observations also say where objects
    are that were seen earlier in the episode."""

    name: Literal["babyai"]
    task_types: Annotated[list[Level], Field(min_length=1), Distinct]
    reward: Literal["success", "discounted"]
    memory: bool
