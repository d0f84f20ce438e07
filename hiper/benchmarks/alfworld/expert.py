"""The scripted player of ALFWorld: it explores ALFWorld's rooms and names a subgoal at every turn.

It knows no more than a player: the observations, the task sentence and the admissible commands. It remembers little on
purpose: what it does follows from the task, the subgoal, the last commands and the admissible ones, so that a model
that is shown no more than these can learn it. Rooms are searched in one fixed order, and the subgoal says how far the
search has come.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hiper.benchmarks.experts import Decision
from hiper.errors import UserError

_SENTENCES = (
    ("two", re.compile(r"(?:put two|find two) (?P<thing>\w+)(?: and put them)? (?:in|on|in/on) (?P<place>\w+)")),
    (
        "treat",
        re.compile(r"put (?:a|some) (?P<state>clean|hot|cool) (?P<thing>\w+) (?:in|on|in/on) (?P<place>\w+)"),
    ),
    (
        "treat",
        re.compile(r"(?P<state>clean|heat|cool) some (?P<thing>\w+) and put it (?:in|on|in/on) (?P<place>\w+)"),
    ),
    ("look", re.compile(r"look at (?P<thing>\w+) under the (?P<place>\w+)")),
    ("look", re.compile(r"examine the (?P<thing>\w+) with the (?P<place>\w+)")),
    ("put", re.compile(r"put (?:a|some) (?P<thing>\w+) (?:in|on|in/on) (?P<place>\w+)")),
)
_TREATMENTS = {"clean": "clean", "hot": "heat", "heat": "heat", "cool": "cool"}
# A few bathrooms have a bathtub that serves as the sink.
_APPLIANCES = {"clean": ("sinkbasin", "bathtubbasin"), "heat": ("microwave",), "cool": ("fridge",)}
_ENTITY = re.compile(r"\ba (\w+ \d+)")

# Many and mostly empty, so searched late: one order for whatever is sought, except that a few things have a place of
# their own. Over the real games this finds things in a third of the time of an alphabetical search.
_SEARCHED_LATE = {"shelf": 1, "cabinet": 2, "drawer": 2, "safe": 2}
_SEARCHED_LAST = 3
_LAMP_STANDS = {"desk": 0, "dresser": 0, "sidetable": 0, "coffeetable": 1, "shelf": 1}
_HOLDERS = {
    "coffeemachine": ("mug",),
    "handtowelholder": ("handtowel",),
    "laundryhamper": (),
    "stoveburner": ("kettle", "pan", "pot"),
    "toaster": (),
    "toiletpaperhanger": ("toiletpaper",),
    "towelholder": ("towel",),
}


@dataclass(frozen=True)
class Errand:
    """What the task sentence asks for.

    `kind` is one of put, two, treat, look; `thing` and `place` are classes ("mug", "shelf"; the lamp's class for look);
    `verb` is clean, heat or cool for treat, else empty.
    """

    kind: str
    thing: str
    place: str
    verb: str


def parse_instruction(instruction: str) -> Errand:
    """Understand a task sentence built from ALFWorld's templates; UserError for any other."""
    sentence = instruction.strip().removesuffix(".").lower()
    for kind, form in _SENTENCES:
        found = form.fullmatch(sentence)
        if found:
            verb = _TREATMENTS[found["state"]] if kind == "treat" else ""
            return Errand(kind, found["thing"], found["place"], verb)
    raise UserError(
        f"task sentence {instruction!r}: not one of ALFWorld's templates, which is all the expert understands"
    )


class AlfworldExpert:
    """Plays one episode: `act` once per turn, first with the first observation.

    Subgoals are `find <class> at <receptacle>` (go there, open it, take or use the thing if it is there),
    `clean|heat|cool <thing> with <receptacle>`, `put <thing> in <receptacle>`, and where two things are wanted `put
    <thing> from <receptacle> in <receptacle>`, because the search goes on where the first was found. `hesitation` is
    the chance that a needless command (look, inventory, examine) comes before the next useful one, at turns with a new
    subgoal as at others; never two in a row.
    """

    def __init__(self, instruction: str, rng: np.random.Generator, hesitation: float) -> None:
        self._errand = parse_instruction(instruction)
        self._rng = rng
        self._hesitation = hesitation
        self._room: tuple[str, ...] = ()  # its receptacles, sorted
        self._place = ""  # where the search is
        self._subgoal = ""
        self._hesitated = False
        self._held = ""
        self._treated = False

    def act(self, observation: str, admissible: Sequence[str]) -> Decision:
        """Decide one turn from what is seen now; the action is always admissible."""
        if not self._room:
            intro = observation.split("you see ", 1)[-1].split(".", 1)[0]
            self._room = tuple(sorted(_ENTITY.findall(intro)))
        subgoal, self._place, action = self._plan(admissible)
        switch = subgoal != self._subgoal
        self._subgoal = subgoal
        self._hesitated = not self._hesitated and bool(self._rng.random() < self._hesitation)
        if self._hesitated:
            return Decision(switch, subgoal, self._needless(admissible))
        self._note(action)
        return Decision(switch, subgoal, action)

    def _plan(self, admissible: Sequence[str]) -> tuple[str, str, str]:
        """(subgoal, where the search is, useful action); remembers nothing, so that planning can be repeated."""
        errand, held, possible = self._errand, self._held, frozenset(admissible)
        target = self._first(errand.place)
        if held and errand.verb and not self._treated:
            appliance = self._first(*_APPLIANCES[errand.verb])
            if appliance:
                command = f"{errand.verb} {held} with {appliance}"
                return command, self._place, _nearer(appliance, command, possible)
        elif held and errand.kind != "look" and target:
            origin = f" from {self._place}" if errand.kind == "two" else ""
            command = f"move {held} to {target}"
            return f"put {held}{origin} in {target}", self._place, _nearer(target, command, possible)
        # What lies in the target counts there already, unless it has to be treated first.
        passed = "" if errand.kind == "treat" else target
        sought = errand.place if held else errand.thing
        command = next((command for command in admissible if _obtains(command, sought, passed)), "")
        place = self._place if command and self._place else self._next_place(sought, passed, possible)
        return f"find {sought} at {place}", place, command or _nearer(place, "", possible)

    def _first(self, *kinds: str) -> str:
        """The first receptacle of the first of these classes that the room has, or nothing."""
        return next((place for kind in kinds for place in self._room if place.split()[0] == kind), "")

    def _next_place(self, sought: str, passed: str, possible: frozenset[str]) -> str:
        """The next receptacle in the search order that is not in plain view, starting with the current one."""
        order = sorted(self._room, key=lambda place: (_search_rank(place.split()[0], sought), place))
        begun = sought == self._errand.thing or self._subgoal.startswith(f"find {sought} ")
        position = order.index(self._place) if begun and self._place in order else 0
        for place in order[position:] + order[:position]:
            if place != passed and (f"go to {place}" in possible or f"open {place}" in possible):
                return place
        return self._place or order[0]

    def _note(self, action: str) -> None:
        verb, *words = action.split()
        if verb == "take":
            self._held = " ".join(words[:2])
        elif verb == "move":
            self._held, self._treated = "", False
        elif verb in _APPLIANCES:
            self._treated = True

    def _needless(self, admissible: Sequence[str]) -> str:
        kind = ("look", "inventory", "examine")[int(self._rng.integers(3))]
        options = [command for command in admissible if command.split(" ", 1)[0] == kind] or ["look"]
        return options[int(self._rng.integers(len(options)))]


def _search_rank(kind: str, sought: str) -> int:
    """How late receptacles of a class are searched for things of a class."""
    if sought.endswith("lamp"):
        return _LAMP_STANDS.get(kind, 2)
    if kind in _HOLDERS:
        return 0 if sought in _HOLDERS[kind] else _SEARCHED_LAST
    return _SEARCHED_LATE.get(kind, 0)


def _obtains(command: str, sought: str, passed: str) -> bool:
    """Does the command take the sought thing (from elsewhere than `passed`) or switch the sought lamp on?"""
    words = command.split()
    if words[0] == "take":
        return words[1] == sought and " ".join(words[4:]) != passed
    return words[0] == "use" and words[1] == sought


def _nearer(place: str, command: str, possible: frozenset[str]) -> str:
    """The command itself if it is possible already, else what brings it nearer."""
    ways = (command, f"go to {place}", f"open {place}", f"examine {place}")
    return next((way for way in ways if way in possible), "look")
