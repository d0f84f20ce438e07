"""The project's own engine: the ALFWorld domain in plain Python, with the text and the commands of the original.

The rules are those of the logic files of the installed `alfworld` (`alfred.pddl`, `alfred.twl2`) including what looks
odd in them: receptacles at one's own place cannot be gone to, objects cannot be examined unless held, treating needs no
open door, slicing reaches into closed drawers, a lamp never goes off, an object taken from one receptacle may still be
in a second one, and `look` shows only what was moved between receptacles that share a place.
`dev.parity.alfworld` compares it with the original step by step.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from hiper.benchmarks.alfworld.games import GameText
from hiper.benchmarks.alfworld.goal import Fluent
from hiper.benchmarks.alfworld.problem import GameSpec, parse_problem

WELCOME: Final = "-= Welcome to TextWorld, ALFRED! =-"
TASK_PREFIX: Final = "Your task is to: "
NOTHING_HAPPENS: Final = "Nothing happens."
# The wording, spacing and order are the benchmark's interface: they must be equal to the last byte.
HELP: Final = "\n".join(
    [
        "Available commands:",
        "  look:                             look around your current location",
        "  inventory:                        check your current inventory",
        "  go to (receptacle):               move to a receptacle",
        "  open (receptacle):                open a receptacle",
        "  close (receptacle):               close a receptacle",
        "  take (object) from (receptacle):  take an object from a receptacle",
        "  move (object) to (receptacle):  place an object in or on a receptacle",
        "  examine (something):              examine a receptacle or an object",
        "  use (object):                     use an object",
        "  heat (object) with (receptacle):  heat an object using a receptacle",
        "  clean (object) with (receptacle): clean an object using a receptacle",
        "  cool (object) with (receptacle):  cool an object using a receptacle",
        "  slice (object) with (object):     slice an object using a sharp object",
        "",
    ]
)

# (entity, entity) are the command's arguments, -1 where it has none.
Handler = Callable[["NativeEngine", int, int], str]
Action = tuple[Handler, int, int]

FLUENTS: Final[Mapping[str, Fluent]] = {
    "atlocation": lambda engine, who: engine._location == who[1],
    "objectatlocation": lambda engine, pair: (pair[0], pair[1]) in engine._placed,
    "inreceptacle": lambda engine, pair: pair[0] in engine._contents.get(pair[1], ()),
    "holds": lambda engine, pair: engine._held == pair[1],
    "holdsany": lambda engine, who: engine._held is not None,
    "opened": lambda engine, one: one[0] in engine._opened,
    "isclean": lambda engine, one: one[0] in engine._clean,
    "ishot": lambda engine, one: one[0] in engine._hot,
    "iscool": lambda engine, one: one[0] in engine._cool,
    "issliced": lambda engine, one: one[0] in engine._sliced,
    "istoggled": lambda engine, one: one[0] in engine._toggled,
    "ison": lambda engine, one: one[0] in engine._on,
}


def parse_game(text: GameText, source: str) -> GameSpec:
    """Parse a game for this engine (a few milliseconds); UserError names `source` and what is wrong with it."""
    return parse_problem(text, FLUENTS, source)


class NativeEngine:
    """Plays one game at a time: `reset`, then `step` any number of times, also after the game is won.

    `admissible` (sorted, unique) and `won` describe the state after the last call.
    """

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        self.admissible: tuple[str, ...] = ()
        self.won = False

    def reset(self, spec: GameSpec) -> str:
        """Start the game and return the welcome, the room and the task."""
        self._spec: GameSpec = spec
        self._location = spec.start
        self._held = spec.held
        self._contents = dict(spec.contents)
        self._placed = set(spec.placed)
        self._taken: set[tuple[int, int]] = set()  # (object, receptacle) it was taken from and not put back
        self._opened = set(spec.marks["opened"])
        self._clean = set(spec.marks["clean"])
        self._hot = set(spec.marks["hot"])
        self._cool = set(spec.marks["cool"])
        self._sliced = set(spec.marks["sliced"])
        self._toggled = set(spec.marks["toggled"])
        self._on = set(spec.marks["on"])
        self._refresh()
        asked = spec.goal.fluents
        self._moving_counts = "atlocation" in asked
        self._decisive = frozenset(handler for handler, fluents in _CHANGES.items() if not asked.isdisjoint(fluents))
        self.won = spec.goal.reached(self)
        room = self._facing() if spec.start in spec.receptacles_at else self._room(spec.receptacles)
        return f"{WELCOME}\n\n{room}\n\n{TASK_PREFIX}{spec.instruction}"

    def step(self, command: str) -> str:
        """Carry out one command; spaces around it do not matter, anything inadmissible does nothing."""
        if not self._actions:
            raise RuntimeError("step before reset")
        spec = self._spec
        command = command.strip()
        action = self._actions.get(command)
        if action is not None:
            handler, first, second = action
            observation = handler(self, first, second)
            if handler in _PASSIVE:
                return observation
            decisive = handler in self._decisive
        elif command in spec.goto and spec.goto[command][1] != self._location:
            receptacle, self._location = spec.goto[command]
            observation = f"You arrive at {spec.names[receptacle]}. {self._view(receptacle)}"
            decisive = self._moving_counts
        else:
            return NOTHING_HAPPENS
        self._refresh()
        if decisive:
            self.won = spec.goal.reached(self)
        return observation

    def close(self) -> None:
        """Nothing to release; here so that engines can be exchanged."""

    # What the player sees.

    def _name(self, entity: int) -> str:
        return self._spec.names[entity]

    def _room(self, receptacles: Sequence[int]) -> str:
        seen = _listing(f"a {self._name(one)}" for one in receptacles)
        return f"You are in the middle of a room. Looking quickly around you, you see {seen}."

    def _facing(self) -> str:
        here = self._spec.receptacles_at[self._location]
        moved = sorted(
            (thing, receptacle)
            for thing, receptacle in self._taken
            if receptacle in here and (thing, self._location) in self._placed
        )
        beside = _listing(f"a {self._name(thing)}" for thing, _ in moved)
        return f"You are facing the {_listing(map(self._name, here))}. Next to it, you see {beside}."

    def _view(self, receptacle: int) -> str:
        name = self._name(receptacle)
        seen = _listing(f"a {self._name(thing)}" for thing in self._contents[receptacle])
        if receptacle not in self._spec.openable:
            return f"On the {name}, you see {seen}."
        return f"The {name} is open. In it, you see {seen}." if receptacle in self._opened else f"The {name} is closed."

    def _state_of(self, thing: int) -> str:
        name = self._name(thing)
        if thing in self._spec.containers:
            seen = _listing(f"a {self._name(one)}" for one in self._spec.inner.get(thing, ()))
            return f"This is a normal {name}. In it, you see {seen}."
        temperature = "hot" if thing in self._hot else "cool" if thing in self._cool else ""
        words = " and ".join(word for word in (temperature, "clean" if thing in self._clean else "") if word)
        if words:
            sliced = " sliced" if thing in self._sliced else ""
            return f"This is a {'cold' if words == 'cool' and not sliced else words}{sliced} {name}."
        if thing in self._spec.toggleable and thing in self._toggled:
            return f"This {name} is on."
        if thing in self._spec.sliceable and thing in self._sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    # What the player may do.

    def _refresh(self) -> None:
        """Recompute the actions at hand; `go to` is not among them, it depends on the location only."""
        spec = self._spec
        names, held = spec.names, self._held
        actions: dict[str, Action] = dict(_ALWAYS)
        for receptacle in spec.receptacles_at.get(self._location, ()):
            self._offer(actions, spec, receptacle, names[receptacle], held)
        if held is not None:
            name = names[held]
            actions[f"examine {name}"] = (_examine_object, held, -1)
            if held in spec.knives:
                for thing in spec.sliceable:
                    if (thing, self._location) in self._placed:
                        actions[f"slice {names[thing]} with {name}"] = (_slice, thing, held)
        self._actions = actions
        commands = sorted(actions)
        middle = bisect_left(commands, "go to ")
        self.admissible = (*commands[:middle], *spec.goto_from[self._location], *commands[middle:])

    def _offer(self, actions: dict[str, Action], spec: GameSpec, receptacle: int, name: str, held: int | None) -> None:
        """Add what can be done with one receptacle in reach and the things in it."""
        actions[f"examine {name}"] = (_examine_receptacle, receptacle, -1)
        reachable = True
        if receptacle in spec.openable:
            reachable = receptacle in self._opened
            actions[f"{'close' if reachable else 'open'} {name}"] = (_close if reachable else _open, receptacle, -1)
        for thing in self._contents[receptacle]:
            if held is None and reachable and thing in spec.pickupable:
                actions[f"take {spec.names[thing]} from {name}"] = (_take, thing, receptacle)
            if thing in spec.toggleable:
                actions[f"use {spec.names[thing]}"] = (_use, thing, -1)
        if held is None:
            return
        if reachable and held in spec.accepts.get(receptacle, ()):
            actions[f"move {spec.names[held]} to {name}"] = (_move, held, receptacle)
        if receptacle in spec.treats:
            verb, treatable = spec.treats[receptacle]
            if held in treatable:
                actions[f"{verb} {spec.names[held]} with {name}"] = (_TREAT[verb], held, receptacle)


def _look(engine: NativeEngine, first: int, second: int) -> str:
    return engine._facing() if engine._location in engine._spec.receptacles_at else engine._room(())


def _inventory(engine: NativeEngine, first: int, second: int) -> str:
    if engine._held is None:
        return "You are not carrying anything."
    return f"You are carrying: a {engine._name(engine._held)}."


def _help(engine: NativeEngine, first: int, second: int) -> str:
    return HELP


def _examine_receptacle(engine: NativeEngine, receptacle: int, _: int) -> str:
    return engine._view(receptacle)


def _examine_object(engine: NativeEngine, thing: int, _: int) -> str:
    return engine._state_of(thing)


def _open(engine: NativeEngine, receptacle: int, _: int) -> str:
    engine._opened.add(receptacle)
    return f"You open the {engine._name(receptacle)}. {engine._view(receptacle)}"


def _close(engine: NativeEngine, receptacle: int, _: int) -> str:
    engine._opened.discard(receptacle)
    return f"You close the {engine._name(receptacle)}."


def _take(engine: NativeEngine, thing: int, receptacle: int) -> str:
    engine._contents[receptacle] = tuple(one for one in engine._contents[receptacle] if one != thing)
    engine._taken.add((thing, receptacle))
    engine._placed.discard((thing, engine._location))
    engine._held = thing
    return f"You pick up the {engine._name(thing)} from the {engine._name(receptacle)}."


def _move(engine: NativeEngine, thing: int, receptacle: int) -> str:
    engine._contents[receptacle] = tuple(sorted({*engine._contents[receptacle], thing}))
    engine._taken.discard((thing, receptacle))
    engine._placed.add((thing, engine._location))
    engine._held = None
    return f"You move the {engine._name(thing)} to the {engine._name(receptacle)}."


def _use(engine: NativeEngine, thing: int, _: int) -> str:
    engine._on ^= {thing}
    engine._toggled.add(thing)
    return f"You turn on the {engine._name(thing)}."


def _clean(engine: NativeEngine, thing: int, receptacle: int) -> str:
    engine._clean.add(thing)
    return f"You clean the {engine._name(thing)} using the {engine._name(receptacle)}."


def _heat(engine: NativeEngine, thing: int, receptacle: int) -> str:
    engine._hot.add(thing)
    engine._cool.discard(thing)
    return f"You heat the {engine._name(thing)} using the {engine._name(receptacle)}."


def _cool(engine: NativeEngine, thing: int, receptacle: int) -> str:
    engine._cool.add(thing)
    engine._hot.discard(thing)
    return f"You cool the {engine._name(thing)} using the {engine._name(receptacle)}."


def _slice(engine: NativeEngine, thing: int, knife: int) -> str:
    engine._sliced.add(thing)
    return f"You sliced the {engine._name(thing)} with the {engine._name(knife)}."


def _listing(items: Iterable[str]) -> str:
    """`a`, `a, and b`, `a, b, and c`, or `nothing`."""
    seen = list(items)
    if not seen:
        return "nothing"
    return seen[0] if len(seen) == 1 else f"{', '.join(seen[:-1])}, and {seen[-1]}"


_ALWAYS: Final[Mapping[str, Action]] = {
    "help": (_help, -1, -1),
    "inventory": (_inventory, -1, -1),
    "look": (_look, -1, -1),
}
_TREAT: Final[Mapping[str, Handler]] = {"clean": _clean, "heat": _heat, "cool": _cool}
# What each action changes: the goal is looked at again only after an action that can matter to it.
_CHANGES: Final[Mapping[Handler, tuple[str, ...]]] = {
    _open: ("opened",),
    _close: ("opened",),
    _take: ("inreceptacle", "objectatlocation", "holds", "holdsany"),
    _move: ("inreceptacle", "objectatlocation", "holds", "holdsany"),
    _use: ("istoggled", "ison"),
    _clean: ("isclean",),
    _heat: ("ishot", "iscool"),
    _cool: ("ishot", "iscool"),
    _slice: ("issliced",),
}
_PASSIVE: Final = frozenset({_help, _inventory, _look, _examine_receptacle, _examine_object})
