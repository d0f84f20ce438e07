"""A game, parsed once: the facts of its PDDL problem as an immutable specification that all its episodes share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hiper.benchmarks.alfworld.games import GameText
from hiper.benchmarks.alfworld.goal import Fact, Fluent, Formula, Goal, GoalCompiler, read_formula, typed_names
from hiper.errors import UserError

_FACT = re.compile(r"\(([^()]+)\)")
_NEGATED = re.compile(r"\(\s*not\s*\([^()]*\)\s*\)")
_COMMENT = re.compile(r";[^\n]*")


@dataclass(frozen=True)
class GameSpec:
    """What never changes during a game, and where everything starts.

    Entities are numbers in the order of their PDDL names, so sorting numbers sorts as TextWorld sorts. `names` are the
    names that players see ("shelf 3"). `goto` maps a command to (receptacle, location) and `goto_from` a location to
    the sorted commands that lead away from it. `accepts` maps a receptacle to the objects that may be put there.
    """

    instruction: str
    names: tuple[str, ...]
    start: int
    receptacles: tuple[int, ...]
    receptacles_at: Mapping[int, tuple[int, ...]]
    goto: Mapping[str, tuple[int, int]]
    goto_from: Mapping[int, tuple[str, ...]]
    openable: frozenset[int]
    pickupable: frozenset[int]
    toggleable: frozenset[int]
    sliceable: tuple[int, ...]
    knives: frozenset[int]
    treats: Mapping[int, tuple[str, frozenset[int]]]  # receptacle -> (clean, heat or cool; objects that may be)
    accepts: Mapping[int, frozenset[int]]
    containers: frozenset[int]  # objects that can hold objects
    inner: Mapping[int, tuple[int, ...]]  # container -> objects in it
    held: int | None
    contents: Mapping[int, tuple[int, ...]]
    placed: frozenset[tuple[int, int]]  # (object, location)
    marks: Mapping[str, frozenset[int]]  # clean, hot, cool, sliced, toggled, on, opened -> entities
    goal: Goal


MARKS = {
    "clean": "isclean",
    "hot": "ishot",
    "cool": "iscool",
    "sliced": "issliced",
    "toggled": "istoggled",
    "on": "ison",
    "opened": "opened",
}
_TREATMENTS = {  # receptacle type -> (verb, predicate of the objects it works on)
    "sinkbasintype": ("clean", "cleanable"),
    "microwavetype": ("heat", "heatable"),
    "fridgetype": ("cool", "coolable"),
}
_KNIFE_TYPES = ("knifetype", "butterknifetype")


def parse_problem(text: GameText, fluents: Mapping[str, Fluent], source: str) -> GameSpec:
    """Parse a game; `source` names it in error messages, `fluents` are the engine's changing predicates."""
    try:
        return _Reader(text.problem).spec(text.instruction, fluents)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise UserError(f"{source}: damaged PDDL problem ({error!r}); fetch or make the game again") from None


def player_names(identifiers: Iterable[str]) -> dict[str, str]:
    """The names players see: class and number, counted downward along the sorted PDDL names, as the original does.

    "basin" anywhere in the PDDL name makes a basin of the class ("sink" becomes "sinkbasin").
    """
    ordered = sorted(name for name in identifiers if "_bar_" in name)
    classes = {name: name.split("_bar_", 1)[0] + ("basin" if "basin" in name else "") for name in ordered}
    left = Counter(classes.values())
    result = {}
    for name in ordered:
        kind = classes[name]
        result[name] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return result


class _Reader:
    """The facts of one problem, indexed for building its specification."""

    def __init__(self, problem: str) -> None:
        text = _COMMENT.sub("", problem).lower() if ";" in problem else problem.lower()
        try:
            objects, rest = text.split("(:objects", 1)[1].split("(:init", 1)
            init, self._goal = rest.split("(:goal", 1)
        except (IndexError, ValueError):
            raise UserError("not a PDDL problem with :objects, :init and :goal, in this order") from None
        self._types = typed_names(objects.replace(")", " ").split())[0]
        if "(not" in init:
            init = _NEGATED.sub("", init)
        rows = [row.split() for row in _FACT.findall(init)]
        mentioned = {word for row in rows for word in row[1:]}
        ordered = sorted(self._types)
        shown = player_names(mentioned)
        self._number = {name: place for place, name in enumerate(ordered)}
        self._names = tuple(shown.get(name, "") for name in ordered)
        self._by_predicate: dict[str, list[tuple[int, ...]]] = {}
        try:
            for predicate, *words in rows:
                if words and predicate != "=":
                    entities = tuple([self._number[word] for word in words])
                    self._by_predicate.setdefault(predicate, []).append(entities)
        except KeyError as error:
            raise UserError(f"the initial facts name {error}, which :objects does not declare") from None

    def _ones(self, predicate: str) -> frozenset[int]:
        return frozenset(row[0] for row in self._by_predicate.get(predicate, ()))

    def _pairs(self, predicate: str) -> list[tuple[int, ...]]:
        return sorted(set(self._by_predicate.get(predicate, ())))

    def spec(self, instruction: str, fluents: Mapping[str, Fluent]) -> GameSpec:
        start = [row[1] for row in self._pairs("atlocation")]
        if len(start) != 1:
            raise UserError(f"the agent must start at one location, found {len(start)}")
        location = self._locations()
        at = _grouped((place, receptacle) for receptacle, place in location.items())
        goto = {f"go to {self._names[receptacle]}": (receptacle, place) for receptacle, place in location.items()}
        commands = sorted(goto)
        held = [row[1] for row in self._pairs("holds")]
        contents = _grouped((receptacle, thing) for thing, receptacle in self._pairs("inreceptacle"))
        return GameSpec(
            instruction=instruction,
            names=self._names,
            start=start[0],
            receptacles=tuple(sorted(location)),
            receptacles_at=at,
            goto=goto,
            goto_from={
                place: tuple(command for command in commands if goto[command][1] != place) for place in {*at, *start}
            },
            openable=self._ones("openable"),
            pickupable=self._ones("pickupable"),
            toggleable=self._ones("toggleable"),
            sliceable=tuple(sorted(self._ones("sliceable"))),
            knives=self._typed("objecttype", _KNIFE_TYPES),
            treats=self._treatments(),
            accepts=self._accepts(),
            containers=self._ones("isreceptacleobject"),
            inner=_grouped((outer, thing) for thing, outer in self._pairs("inreceptacleobject")),
            held=held[0] if held else None,
            contents={receptacle: contents.get(receptacle, ()) for receptacle in {*location, *contents}},
            placed=frozenset((row[0], row[1]) for row in self._pairs("objectatlocation")),
            marks={mark: self._ones(predicate) for mark, predicate in MARKS.items()},
            goal=self._compiled_goal(fluents),
        )

    def _locations(self) -> dict[int, int]:
        pairs = self._pairs("receptacleatlocation")
        location = {row[0]: row[1] for row in pairs}
        if len(location) != len(pairs):
            raise UserError(
                "a receptacle stands at two locations; play this game with benchmark.game_engine: textworld"
            )
        return location

    def _typed(self, predicate: str, kinds: Iterable[str]) -> frozenset[int]:
        numbers = {self._number[kind] for kind in kinds if kind in self._number}
        return frozenset(row[0] for row in self._by_predicate.get(predicate, ()) if row[1] in numbers)

    def _treatments(self) -> dict[int, tuple[str, frozenset[int]]]:
        return {
            receptacle: (verb, self._ones(predicate))
            for kind, (verb, predicate) in _TREATMENTS.items()
            for receptacle in self._typed("receptacletype", [kind])
        }

    def _accepts(self) -> dict[int, frozenset[int]]:
        members = _grouped((kind, thing) for thing, kind in self._pairs("objecttype"))
        allowed = {
            kind: frozenset(thing for one in kinds for thing in members.get(one, ()))
            for kind, kinds in _grouped((row[0], row[1]) for row in self._pairs("cancontain")).items()
        }
        result: dict[int, frozenset[int]] = {}
        for receptacle, kind in self._pairs("receptacletype"):
            result[receptacle] = result.get(receptacle, frozenset()) | allowed.get(kind, frozenset())
        return result

    def _compiled_goal(self, fluents: Mapping[str, Fluent]) -> Goal:
        members: dict[str, list[int]] = {}
        for name, kind in self._types.items():
            members.setdefault(kind, []).append(self._number[name])
        asked = set(self._goal.replace("(", " ").split()) - set(fluents)
        facts: set[Fact] = {
            (predicate, *row) for predicate, rows in self._by_predicate.items() if predicate in asked for row in rows
        }
        formula = read_formula(self._goal)
        goal = GoalCompiler(self._number, members, facts, fluents).compile(formula)
        granted = dict.fromkeys(fluents, _granted)
        if not _negates(formula, fluents) and not (
            GoalCompiler(self._number, members, facts, granted).compile(formula).reached(None)
        ):
            raise UserError("nobody can win this game: its goal asks for things that the game does not have")
        return goal


def _granted(state: object, entities: Sequence[int]) -> bool:
    """A changing fact that somebody has brought about."""
    return True


def _negates(formula: Formula, fluents: Mapping[str, Fluent], inside: bool = False) -> bool:
    """Whether a changing fact stands anywhere below a negation, where having it could hinder the goal."""
    if not formula:
        return False
    head = formula[0]
    if isinstance(head, str) and head in fluents:
        return inside
    below = inside or head in ("not", "imply")
    return any(_negates(part, fluents, below) for part in formula if isinstance(part, list))


def _grouped(pairs: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """Second members by first member, each group sorted and without repetition."""
    groups: dict[int, set[int]] = {}
    for key, value in pairs:
        groups.setdefault(key, set()).add(value)
    return {key: tuple(sorted(group)) for key, group in groups.items()}
