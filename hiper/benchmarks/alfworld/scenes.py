"""One generated game as data, and its three texts: PDDL problem, task sentence and walkthrough.

A scene says which receptacles of a room exist, what lies where and what is asked. Everything derived from it is a pure
function, so equal scenes give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hiper.benchmarks.alfworld.problem import player_names
from hiper.benchmarks.alfworld.rooms import Receptacle, household


@dataclass(frozen=True)
class Appliance:
    """The receptacle class that treats objects, the command's verb, and ALFWorld's name of the classes it works on."""

    receptacle: str
    verb: str
    action: str


APPLIANCES = {
    "pick_clean_then_place_in_recep": Appliance("SinkBasin", "clean", "Cleanable"),
    "pick_heat_then_place_in_recep": Appliance("Microwave", "heat", "Heatable"),
    "pick_cool_then_place_in_recep": Appliance("Fridge", "cool", "Coolable"),
}
LAMP = "DeskLamp"
START = "loc|99|99|0|30"  # a spot without receptacles, as in every real game

# Types the domain's actions name; a planner rejects a problem that does not declare them.
_DOMAIN_OBJECT_TYPES = ("ButterKnife", "Knife")
_DOMAIN_RECEPTACLE_TYPES = ("Fridge", "Microwave", "SinkBasin")
_STATE_PREDICATES = {"Cleanable": "cleanable", "Heatable": "heatable", "Coolable": "coolable", "Sliceable": "sliceable"}
_CHARACTERS = (("|", "_bar_"), ("-", "_minus_"), ("+", "_plus_"), (".", "_dot_"))


@dataclass(frozen=True)
class Placed:
    """An object (`Apple|417`) and the receptacle it lies in; `fixed` ones cannot be picked up."""

    id: str
    type: str
    receptacle: Receptacle
    fixed: bool = False


@dataclass(frozen=True)
class Scene:
    """A game before it is written.

    `target`, `parent` are classes: what to bring and where (the lamp's class for look tasks). `needed` are the objects
    the walkthrough brings, in order; `destination` is the receptacle they end in, for look tasks the one with the lamp;
    `appliance` the one that cleans, heats or cools. `template` numbers the sentence.
    """

    room: int
    task_type: str
    target: str
    parent: str
    receptacles: tuple[Receptacle, ...]
    objects: tuple[Placed, ...]
    needed: tuple[Placed, ...]
    destination: Receptacle
    appliance: Receptacle | None
    template: int

    @property
    def folder(self) -> str:
        return f"{self.task_type}-{self.target}-None-{self.parent}-{self.room}"

    def signature(self) -> tuple[object, ...]:
        """Equal for games that differ only in the numbers of things and the wording: those count as the same game."""
        contents = sorted((item.type, item.receptacle.id) for item in self.objects)
        return self.room, self.task_type, self.target, self.parent, self.receptacles, tuple(contents)


def mangle(identifier: str) -> str:
    """The simulator's id as a PDDL name: `Apple|+00.78` -> `Apple_bar__plus_00_dot_78`."""
    for character, replacement in _CHARACTERS:
        identifier = identifier.replace(character, replacement)
    return identifier


def display_names(identifiers: Iterable[str]) -> dict[str, str]:
    """What players see for each id ("apple 2")."""
    by_name = {mangle(identifier).lower(): identifier for identifier in identifiers}
    return {by_name[name]: shown for name, shown in player_names(by_name).items()}


def sentence(scene: Scene) -> str:
    """The task sentence without the final full stop, in ALFWorld's own words."""
    template: str = household().goals[scene.task_type]["templates"][scene.template]
    return template.format(obj=scene.target.lower(), recep=scene.parent.lower(), toggle=LAMP.lower())


def walkthrough(scene: Scene) -> list[str]:
    """Commands that win the game without exploring.

    `go to` is left out where the agent already stands at the receptacle's location: there ALFWorld does not admit it.
    """
    names = display_names([*(item.id for item in scene.receptacles), *(item.id for item in scene.objects)])
    commands: list[str] = []
    location, opened = START, set[str]()

    def visit(receptacle: Receptacle, *, inside: bool) -> None:
        nonlocal location
        if location != receptacle.location:
            commands.append(f"go to {names[receptacle.id]}")
            location = receptacle.location
        if inside and receptacle.type in household().openable and receptacle.id not in opened:
            commands.append(f"open {names[receptacle.id]}")
            opened.add(receptacle.id)

    for item in scene.needed:
        visit(item.receptacle, inside=True)
        commands.append(f"take {names[item.id]} from {names[item.receptacle.id]}")
        if scene.appliance is not None:
            visit(scene.appliance, inside=False)
            commands.append(f"{APPLIANCES[scene.task_type].verb} {names[item.id]} with {names[scene.appliance.id]}")
        if scene.parent == LAMP:
            visit(scene.destination, inside=False)
            lamp = next(
                thing for thing in scene.objects if thing.type == LAMP and thing.receptacle == scene.destination
            )
            commands.append(f"use {names[lamp.id]}")
        else:
            visit(scene.destination, inside=True)
            commands.append(f"move {names[item.id]} to {names[scene.destination.id]}")
    return commands


def problem(scene: Scene, name: str) -> str:
    """The PDDL problem; only objects, types and facts that matter in this scene, in sorted order."""
    object_types = sorted({item.type for item in scene.objects}.union(_DOMAIN_OBJECT_TYPES))
    receptacle_types = sorted({item.type for item in scene.receptacles}.union(_DOMAIN_RECEPTACLE_TYPES))
    locations = sorted({START, *(item.location for item in scene.receptacles)})
    declarations = [
        "agent1 - agent",
        *(f"{name}Type - otype" for name in object_types),
        *(f"{name}Type - rtype" for name in receptacle_types),
        *(f"{mangle(item.id)} - object" for item in scene.objects),
        *(f"{mangle(item.id)} - receptacle" for item in scene.receptacles),
        *(f"{mangle(location)} - location" for location in locations),
    ]
    facts = [
        *_receptacle_facts(scene),
        *(fact for item in scene.objects for fact in _object_facts(scene, item)),
        *_possible_contents(scene),
        f"atLocation agent1 {mangle(START)}",
    ]
    goal = household().goals[scene.task_type]["pddl"].replace("#", "-")
    goal = goal.format(obj=scene.target, recep=scene.parent, toggle=LAMP)
    objects = "\n    ".join(declarations)
    init = "\n    ".join(f"({fact})" for fact in facts)
    return f"(define (problem {name})\n(:domain alfred)\n(:objects\n    {objects}\n)\n(:init\n    {init}\n){goal}"


def _receptacle_facts(scene: Scene) -> Iterable[str]:
    for item in scene.receptacles:
        name = mangle(item.id)
        yield f"receptacleType {name} {item.type}Type"
        yield f"receptacleAtLocation {name} {mangle(item.location)}"
        if item.type in household().openable:
            yield f"openable {name}"


def _object_facts(scene: Scene, item: Placed) -> Iterable[str]:
    name = mangle(item.id)
    yield f"objectType {name} {item.type}Type"
    yield f"inReceptacle {name} {mangle(item.receptacle.id)}"
    yield f"objectAtLocation {name} {mangle(item.receptacle.location)}"
    if not item.fixed:
        yield f"pickupable {name}"
    if item.type in household().vessels:
        yield f"isReceptacleObject {name}"
    for action, predicate in _STATE_PREDICATES.items():
        if item.type in household().actions[action]:
            yield f"{predicate} {name}"
    if item.type == LAMP and scene.parent == LAMP:
        yield f"toggleable {name}"
    if item.type == scene.target and item.receptacle.type == "Fridge" and item.type in household().actions["Coolable"]:
        yield f"isCool {name}"  # real games mark the target, and only it, as cold already


def _possible_contents(scene: Scene) -> Iterable[str]:
    movable = sorted({item.type for item in scene.objects if not item.fixed})
    for receptacle_type in sorted({item.type for item in scene.receptacles}):
        for object_type in movable:
            if object_type in household().holds[receptacle_type]:
                yield f"canContain {receptacle_type}Type {object_type}Type"
