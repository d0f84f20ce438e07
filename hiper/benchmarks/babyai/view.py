"""What the agent sees, in words: the objects in its partial view by distance and direction, the walls beside and ahead,
what it carries; and which actions would do something.

The package's image is [column, row, (object, colour, state)], seven cells wide and seven deep: the agent is in the
middle of the last row and looks towards the first. All words come from that image alone, so nothing is told that is out
of view; a memory, where one is wanted, keeps what earlier images showed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SIDE, DEPTH = 3, 6  # the agent's column and row
UNSEEN, EMPTY, WALL, DOOR, KEY, BALL, BOX = 0, 1, 2, 4, 5, 6, 7
OPEN, CLOSED, LOCKED = 0, 1, 2
KINDS = {DOOR: "door", KEY: "key", BALL: "ball", BOX: "box"}
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = {OPEN: "an open", CLOSED: "a closed", LOCKED: "a locked"}

LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE = (
    "turn left",
    "turn right",
    "go forward",
    "pick up",
    "drop",
    "toggle",
)
ACTIONS = (LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE)  # in the order of the package's numbers

Cell = Sequence[int]  # (object, colour, state)
Image = Sequence[Sequence[Cell]]


class Place(NamedTuple):
    """Where something is for the agent, in cells; negative numbers are behind and to the left."""

    ahead: int
    right: int

    @property
    def distance(self) -> int:
        return abs(self.ahead) + abs(self.right)

    def words(self) -> str:
        parts = []
        if self.ahead:
            parts.append(f"{abs(self.ahead)} {'ahead' if self.ahead > 0 else 'behind'}")
        if self.right:
            parts.append(f"{abs(self.right)} {'right' if self.right > 0 else 'left'}")
        return " ".join(parts)


class Pose(NamedTuple):
    """Where the agent stands and looks on the grid: direction 0 is along x, 1 along y, 2 and 3 against them."""

    x: int
    y: int
    direction: int

    def cell(self, place: Place) -> tuple[int, int]:
        """The grid's cell at a place."""
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.direction]
        return self.x + dx * place.ahead - dy * place.right, self.y + dy * place.ahead + dx * place.right

    def place(self, cell: tuple[int, int]) -> Place:
        """The place of a cell of the grid."""
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[self.direction]
        x, y = cell[0] - self.x, cell[1] - self.y
        return Place(dx * x + dy * y, dx * y - dy * x)


@dataclass(frozen=True)
class View:
    """What one image shows.

    `objects` are in sight, nearest first; `walls` is the distance of the first wall ahead, to the left and to the
    right, of those in sight; `carried` is empty where the hands are.
    """

    objects: tuple[tuple[Place, str], ...]
    walls: dict[str, int]
    carried: str
    admissible: tuple[str, ...]


def read(image: Image) -> View:
    """Understand an image, given as nested lists."""
    found = []
    for column, cells in enumerate(image):
        for row, cell in enumerate(cells):
            if cell[0] > WALL and (column != SIDE or row != DEPTH):
                found.append((Place(DEPTH - row, column - SIDE), name(cell)))
    found.sort(key=_nearest)
    held = image[SIDE][DEPTH]
    carried = name(held) if held[0] > WALL else ""
    return View(tuple(found), _walls(image), carried, _effective(image[SIDE][DEPTH - 1], held))


def tell(view: View, remembered: Iterable[tuple[Place, str]] = ()) -> str:
    """The observation. `remembered` is what the agent has seen and sees no more."""
    walls = ", ".join(f"{distance} {where}" for where, distance in view.walls.items())
    parts = [f"You see {_listed(view.objects)}."]
    if walls:
        parts.append(f"Walls are {walls}.")
    if known := sorted(remembered, key=_nearest):
        parts.append(f"You remember {_listed(known)}.")
    parts.append(f"You carry {view.carried or 'nothing'}.")
    return " ".join(parts)


def name(cell: Cell) -> str:
    """An object in words, with its article."""
    kind, colour, state = cell
    return f"{STATES[state] if kind == DOOR else 'a'} {COLOURS[colour]} {KINDS[kind]}"


class Memory:
    """The objects that the agent has seen in an episode and sees no more, each where it was last seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def out_of_sight(self, image: Image, view: View, pose: Pose) -> list[tuple[Place, str]]:
        """Note what is in view now; what else is known, from where the agent stands now."""
        for cell in list(self._known):
            if _visible(image, pose.place(cell)):
                del self._known[cell]
        known = [(pose.place(cell), words) for cell, words in self._known.items()]
        self._known |= {pose.cell(place): words for place, words in view.objects}
        return [(place, words) for place, words in known if place.distance]  # not the open door the agent stands in


def _visible(image: Image, place: Place) -> bool:
    """Whether a cell is in view; not the agent's own, where the image shows what is carried."""
    if not (0 <= place.ahead <= DEPTH and -SIDE <= place.right <= SIDE) or not place.distance:
        return False
    return image[SIDE + place.right][DEPTH - place.ahead][0] != UNSEEN


def _nearest(found: tuple[Place, str]) -> tuple[int, int, int]:
    place, _ = found
    return place.distance, -place.ahead, place.right


def _listed(objects: Iterable[tuple[Place, str]]) -> str:
    return ", ".join(f"{words} {place.words()}" for place, words in objects) or "nothing"


def _walls(image: Image) -> dict[str, int]:
    lines = {
        "ahead": [image[SIDE][DEPTH - distance] for distance in range(1, DEPTH + 1)],
        "left": [image[SIDE - distance][DEPTH] for distance in range(1, SIDE + 1)],
        "right": [image[SIDE + distance][DEPTH] for distance in range(1, SIDE + 1)],
    }
    found = {}
    for where, cells in lines.items():
        distance = next((number for number, cell in enumerate(cells, start=1) if cell[0] == WALL), 0)
        if distance:
            found[where] = distance
    return found


def _effective(front: Cell, held: Cell) -> tuple[str, ...]:
    """The actions that change something: with `front` before the agent and `held` in its hands."""
    kind, colour, state = front
    carries = held[0] > WALL
    actions = [LEFT, RIGHT]
    if kind == EMPTY or (kind == DOOR and state == OPEN):
        actions.append(FORWARD)
    if kind in (KEY, BALL, BOX) and not carries:
        actions.append(PICK_UP)
    if kind == EMPTY and carries:
        actions.append(DROP)
    if kind == BOX or (kind == DOOR and (state != LOCKED or (held[0] == KEY and held[1] == colour))):
        actions.append(TOGGLE)
    return tuple(actions)
