"""Rooms and household knowledge from the files inside the installed `alfworld` package, read without importing it.

The package carries, for 120 rooms, receptacles with the spot to reach them from (`FloorPlanN-openable.json`) and the
classes present (`FloorPlanN-objects.json`). Classes named in the second file without a position in the first (mostly
sinks, stove burners and other fixtures) are added here, the same ones on every machine.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hiper.errors import UserError

UNSEEN_ROOMS = (10, 219, 308, 424)  # one per kind of room; the rooms of the real `valid_unseen`
_NEVER_TRAINED = frozenset({9, 29, 215, 226, 315, 325, 404, 425, *UNSEEN_ROOMS})  # the real train split lacks these too
TRAIN_ROOMS = tuple(
    number for first in (1, 201, 301, 401) for number in range(first, first + 30) if number not in _NEVER_TRAINED
)
SPLIT_ROOMS = {"train": TRAIN_ROOMS, "valid_seen": TRAIN_ROOMS, "valid_unseen": UNSEEN_ROOMS}

# How many of a class a real room typically has where the layout files are silent; 1 for all others.
_TYPICAL_COUNTS = {"StoveBurner": 4, "Drawer": 3, "Cabinet": 3, "HandTowelHolder": 2}


@dataclass(frozen=True)
class Receptacle:
    """A place that holds objects; `id` is the simulator's (`Drawer|+00.95|+00.22|-02.20`). Some share a location."""

    id: str
    type: str
    location: str


@dataclass(frozen=True)
class Room:
    """`classes`: every object and receptacle class the room may contain, sorted."""

    number: int
    receptacles: tuple[Receptacle, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Household:
    """What ALFWorld knows about classes.

    `holds`: receptacle class -> object classes it can contain (all of them can be picked up). `actions`: "Cleanable",
    "Heatable", "Coolable", "Sliceable" -> object classes. `vessels`: objects that are containers themselves. `goals`:
    task type -> {"pddl": goal with {obj}, {recep}, {toggle}; "templates": sentences}.
    """

    holds: Mapping[str, frozenset[str]]
    actions: Mapping[str, frozenset[str]]
    vessels: frozenset[str]
    openable: frozenset[str]
    goals: Mapping[str, Mapping[str, Any]]


def package_folder() -> Path:
    """Where `alfworld` is installed; found without importing it (which would make folders and load heavy packages)."""
    found = importlib.util.find_spec("alfworld")
    if found is None or not found.submodule_search_locations:
        raise UserError("the package `alfworld`, whose room layouts are needed, is missing: run `pip install alfworld`")
    return Path(found.submodule_search_locations[0])


@cache
def logic_file(name: str) -> str:
    """Text of `alfred.pddl` (the domain) or `alfred.twl2` (the grammar) of the installed package."""
    return (package_folder() / "data" / name).read_text(encoding="utf-8")


@cache
def household() -> Household:
    constants = _standalone("constants")
    movable = frozenset(constants.MOVABLE_RECEPTACLES)
    holds = {
        name: frozenset(contents) for name, contents in constants.VAL_RECEPTACLE_OBJECTS.items() if name not in movable
    }
    return Household(
        holds=holds,
        actions={name: frozenset(classes) for name, classes in constants.VAL_ACTION_OBJECTS.items()},
        vessels=movable,
        openable=frozenset(constants.OPENABLE_CLASS_LIST) - movable,
        goals=_standalone("goal_library").gdict,
    )


@cache
def load_room(number: int) -> Room:
    """The receptacles of a room, sorted by id: those with a known position and those only named."""
    layouts = package_folder() / "gen" / "layouts"
    positions = json.loads((layouts / f"FloorPlan{number}-openable.json").read_text(encoding="utf-8"))
    classes = json.loads((layouts / f"FloorPlan{number}-objects.json").read_text(encoding="utf-8"))
    known = [Receptacle(name, _class(name), _location(*positions[name])) for name in sorted(positions)]
    known = [receptacle for receptacle in known if receptacle.type in household().holds]
    missing = sorted((set(classes) & set(household().holds)) - {receptacle.type for receptacle in known})
    receptacles = sorted(known + _fixtures(number, missing), key=lambda item: item.id)
    return Room(number, tuple(receptacles), tuple(sorted(classes)))


def _fixtures(number: int, classes: list[str]) -> list[Receptacle]:
    # Seeded by the room alone: a room is the same in every split and data set. Stove burners stand two to a spot.
    random = np.random.default_rng([7, number])
    added = []
    for row, name in enumerate(classes):
        for index in range(_TYPICAL_COUNTS.get(name, 1)):
            spot = index // 2 if name == "StoveBurner" else index
            metres = "|".join(f"{value / 100:+06.2f}" for value in random.integers(-399, 400, size=3).tolist())
            label = f"{name.removesuffix('Basin')}|{metres}" + ("|" + name if name.endswith("Basin") else "")
            added.append(Receptacle(label, name, f"loc|{40 + row}|{spot}|0|30"))
    return added


def _class(identifier: str) -> str:
    parts = identifier.split("|")
    return parts[4] if len(parts) > 4 else parts[0]  # `Sink|x|y|z|SinkBasin`


def _location(x: float, z: float, rotation: float, horizon: float) -> str:
    return f"loc|{round(4 * x)}|{round(4 * z)}|{round(rotation / 90)}|{round(horizon)}"


def _standalone(name: str) -> ModuleType:
    # A plain import would run the package's own __init__ first; the file itself needs only the standard library.
    path = package_folder() / "gen" / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"_alfworld_{name}", path)
    if specification is None or specification.loader is None:
        raise UserError(f"{path}: cannot be read; reinstall the package `alfworld`")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
