"""Drawing a random game: what can be asked in a room, which receptacles stay, what lies where.

How crowded rooms are, how many objects of a class there are and where tasks may lead follows the real games.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from hiper.benchmarks.alfworld.rooms import Receptacle, Room, household
from hiper.benchmarks.alfworld.scenes import APPLIANCES, LAMP, Placed, Scene

T = TypeVar("T")

# Objects per receptacle in the real games (mean over 274 of them), used as weights of a random placement.
_CROWDING = {
    "DiningTable": 9.0, "CounterTop": 6.5, "Fridge": 5.1, "Desk": 5.0, "Dresser": 4.5, "Bed": 4.3, "CoffeeTable": 4.0,
    "TVStand": 4.0, "Cart": 3.3, "SinkBasin": 3.0, "Sofa": 2.9, "SideTable": 2.3, "Toilet": 2.2, "GarbageCan": 1.5,
    "ArmChair": 1.4, "BathtubBasin": 1.3, "Safe": 1.3, "Shelf": 1.1,
}  # fmt: skip
_CROWDING_ELSEWHERE = 0.7
_COPIES = (0.43, 0.32, 0.25)  # real shares of 1, 2 and 3 objects of a class that is present

# Classes no real task asks to bring things to.
_NEVER_A_GOAL = frozenset({"BathtubBasin", "HandTowelHolder", "LaundryHamper", "SinkBasin", "Toaster", "TowelHolder"})

# Things that cannot be picked up but are listed among the contents, and where they stand.
_FURNISHINGS = {
    LAMP: ("Desk", "SideTable", "Dresser", "Shelf"),
    "HousePlant": ("CounterTop", "DiningTable", "SideTable", "Dresser", "Shelf"),
    "Television": ("TVStand", "Dresser", "SideTable"),
}


@dataclass(frozen=True)
class Limits:
    """How big a room's game is: receptacles, and objects besides those the task needs; None: as in the real games."""

    receptacles: int | None
    objects: int | None


@dataclass(frozen=True)
class Item:
    """An object to be: its class and where it lies; `fixed` ones cannot be picked up."""

    type: str
    receptacle: Receptacle
    fixed: bool = False


@dataclass(frozen=True)
class Quest:
    """What may be asked in a room: bring `target` to a `parent` (`LAMP`: hold it under the lamp)."""

    task_type: str
    target: str
    parent: str


@cache
def quests(room: Room, task_type: str) -> tuple[Quest, ...]:
    """Everything of one task type that can be asked in a room, sorted; empty when the room lacks what it takes."""
    holds, present = household().holds, sorted({item.type for item in room.receptacles})
    targets = [name for name in room.classes if any(name in holds[place] for place in present)]
    if task_type == "look_at_obj_in_light":
        lit = LAMP in room.classes and any(place in _FURNISHINGS[LAMP] for place in present)
        return tuple(Quest(task_type, target, LAMP) for target in targets) if lit else ()
    appliance = APPLIANCES.get(task_type)
    if appliance is not None:
        if appliance.receptacle not in present:
            return ()
        targets = [target for target in targets if target in household().actions[appliance.action]]
    return tuple(
        Quest(task_type, target, parent)
        for target in targets
        for parent in present
        if target in holds[parent] and parent not in _NEVER_A_GOAL | _treating(task_type)
    )


def draw_scene(random: np.random.Generator, room: Room, quest: Quest, limits: Limits) -> Scene | None:
    """A random game for a quest, or None when its object fits nowhere but where it must end."""
    wanted = frozenset(_FURNISHINGS[LAMP]) if quest.parent == LAMP else {quest.parent}
    destination = pick(random, [item for item in room.receptacles if item.type in wanted])
    appliances = [item for item in room.receptacles if item.type in _treating(quest.task_type)]
    appliance = pick(random, appliances) if appliances else None
    sources = []
    for _ in range(_how_many(quest)):
        source = _place(random, room.receptacles, quest.target, _forbidden(quest))
        if source is None:
            return None
        sources.append(source)
    needed = {item for item in (destination, appliance, *sources) if item is not None}
    kept = _keep(random, room, needed, limits.receptacles)
    items = [Item(quest.target, source) for source in sources]
    if quest.parent == LAMP:
        items.append(Item(LAMP, destination, fixed=True))
    items += _others(random, room, kept, quest, limits.objects)
    objects = _identified(random, items)
    return Scene(
        room=room.number,
        task_type=quest.task_type,
        target=quest.target,
        parent=quest.parent,
        receptacles=kept,
        objects=tuple(sorted(objects, key=lambda item: item.id)),
        needed=tuple(objects[: len(sources)]),
        destination=destination,
        appliance=appliance,
        template=int(random.integers(2)),
    )


def _how_many(quest: Quest) -> int:
    return 2 if quest.task_type == "pick_two_obj_and_place" else 1


def _treating(task_type: str) -> frozenset[str]:
    """The class of the receptacle that treats the object, as a set of one; empty for tasks without treatment."""
    return frozenset({APPLIANCES[task_type].receptacle}) if task_type in APPLIANCES else frozenset()


def _forbidden(quest: Quest) -> frozenset[str]:
    """The receptacle classes that no object of the target's class may lie in at the start, as in the real games.

    For plain placing that is the goal (the game would be won or half won), for cooling the fridge (the object would be
    cold already).
    """
    if quest.task_type == "pick_cool_then_place_in_recep":
        return _treating(quest.task_type)
    return frozenset() if quest.task_type in APPLIANCES else frozenset({quest.parent})


def _keep(
    random: np.random.Generator, room: Room, needed: set[Receptacle], limit: int | None
) -> tuple[Receptacle, ...]:
    if limit is None:
        return room.receptacles
    others = [item for item in room.receptacles if item not in needed]
    chosen = random.permutation(len(others))[: max(0, limit - len(needed))]
    return tuple(sorted(needed.union(others[index] for index in chosen), key=lambda item: item.id))


def _others(
    random: np.random.Generator, room: Room, kept: Sequence[Receptacle], quest: Quest, limit: int | None
) -> list[Item]:
    """The further objects: `limit` random ones, or as many as a real room has, with the furnishings that hold still."""
    holds = household().holds
    classes = [name for name in room.classes if any(name in holds[item.type] for item in kept)]
    wanted: list[str] = []
    if limit is not None:
        wanted = [pick(random, classes) for _ in range(limit)]
    else:
        for name in classes:
            copies = 1 + int(random.choice(len(_COPIES), p=_COPIES))
            wanted += [name] * (copies - (_how_many(quest) if name == quest.target else 0))
    items = []
    for name in wanted:
        place = _place(random, kept, name, _forbidden(quest) if name == quest.target else frozenset())
        if place is not None:
            items.append(Item(name, place))
    if limit is None:
        for name, stands in sorted(_FURNISHINGS.items()):
            places = [item for item in kept if item.type in stands]
            if places and name in room.classes and name != quest.parent:
                items.append(Item(name, pick(random, places), fixed=True))
    return items


def _place(
    random: np.random.Generator, receptacles: Sequence[Receptacle], name: str, forbidden: frozenset[str]
) -> Receptacle | None:
    """A random receptacle for a class of objects, the likelier the more real ones of its kind hold; None: no place."""
    holds = household().holds
    places = [item for item in receptacles if name in holds[item.type] and item.type not in forbidden]
    if not places:
        return None
    weights = np.cumsum([_CROWDING.get(item.type, _CROWDING_ELSEWHERE) for item in places])
    return places[int(np.searchsorted(weights, random.random() * weights[-1], side="right"))]


def _identified(random: np.random.Generator, items: Sequence[Item]) -> list[Placed]:
    # The simulator's ids end in coordinates; what matters of them is that they order the objects of a class at random.
    labels = random.permutation(900)[: len(items)] + 100
    return [
        Placed(f"{item.type}|{label}", item.type, item.receptacle, item.fixed)
        for item, label in zip(items, labels.tolist(), strict=True)
    ]


def pick(random: np.random.Generator, values: Sequence[T]) -> T:
    """One of the values, each as likely."""
    return values[int(random.integers(len(values)))]
