"""Is the native engine equal to the original? Compared with its recordings, or with TextWorld step by step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dev.parity.alfworld_recorded import located
from dev.parity.recordings import read_recording
from hiper.benchmarks.alfworld.games import Game, read_game
from hiper.benchmarks.alfworld.native import NOTHING_HAPPENS, NativeEngine, parse_game
from hiper.benchmarks.alfworld.problem import GameSpec
from hiper.errors import UserError

Player = Callable[[str, Sequence[str]], str]  # (observation, admissible) -> command
REFUSED = "refused"

# Rare verbs are drawn as often as `go to`, or heating and slicing would hardly ever be compared.
_VERB_WEIGHTS = {"go": 4.0, "take": 4.0, "move": 1.5, "open": 3.0, "close": 0.7, "help": 0.2, "inventory": 0.5}
_ODD_COMMANDS = (
    "",
    "  ",
    "look around",
    "go to nowhere 1",
    "put {o} in/on {r}",
    "take {o} from {r}",
    "GO TO {r}",
    "use {o}",
)


@dataclass(frozen=True)
class ParityResult:
    """How many points (resets and steps) agreed in every field; `verbs` counts the compared commands by first word."""

    matched: int
    total: int
    mismatches: list[str]
    verbs: dict[str, int] = field(default_factory=dict)


class _Tally:
    def __init__(self) -> None:
        self._matched = 0
        self._mismatches: list[str] = []
        self._verbs: Counter[str] = Counter()

    def compare(self, where: str, command: str | None, own: Mapping[str, Any], original: Mapping[str, Any]) -> None:
        """Compare one point; `command` is None at a reset."""
        different = [key for key in own if own[key] != original[key]]
        if command is not None:
            words = command.split()
            self._verbs[words[0] if words and own["observation"] != NOTHING_HAPPENS else REFUSED] += 1
        if different:
            details = "; ".join(_difference(key, own[key], original[key]) for key in different)
            self._mismatches.append(f"{where}{'' if command is None else f' {command!r}'}: {details}")
        else:
            self._matched += 1

    def result(self) -> ParityResult:
        total = self._matched + len(self._mismatches)
        return ParityResult(self._matched, total, self._mismatches, dict(sorted(self._verbs.items())))


def _difference(key: str, own: Any, original: Any) -> str:
    if key == "admissible":
        extra, lacking = sorted(set(own) - set(original)), sorted(set(original) - set(own))
        return (
            f"admissible commands: only here {extra}, only in the original {lacking}" if extra or lacking else "order"
        )
    return f"{key}: here {own!r}, in the original {original!r}"


def compare_recording(file: Path, data: Path | None) -> ParityResult:
    """Replay recorded episodes in the native engine; every reset and every step is one compared point.

    `file` (.json or .json.gz) is a list of `{game, task_type, reset: {obs, admissible}, steps: [{action, obs,
    admissible, won}]}`. `data`: see `recorded.located`. Raises UserError when file or games cannot be read.
    """
    episodes = _episodes(file)
    tally = _Tally()
    engine = NativeEngine()
    with located((episode["game"] for episode in episodes), data) as folders:
        for episode in episodes:
            game = episode["game"]
            observation = engine.reset(parse_game(read_game(folders[game]), game))
            start = episode["reset"]
            own: dict[str, Any] = {"observation": observation, "admissible": list(engine.admissible)}
            tally.compare(f"{game} reset", None, own, {"observation": start["obs"], "admissible": start["admissible"]})
            for number, step in enumerate(episode["steps"], start=1):
                original = {"observation": step["obs"], "admissible": step["admissible"], "won": step["won"]}
                observation = engine.step(step["action"])
                own = {"observation": observation, "admissible": list(engine.admissible), "won": engine.won}
                tally.compare(f"{game} step {number}", step["action"], own, original)
    return tally.result()


def _episodes(file: Path) -> list[dict[str, Any]]:
    episodes = read_recording(file)
    if not isinstance(episodes, list):
        raise UserError(f"{file}: expected a list of episodes, found {type(episodes).__name__}")
    for number, episode in enumerate(episodes):
        try:
            points = [episode["reset"], *episode["steps"]]
            fields = [episode["game"], *(step["action"] for step in episode["steps"])]
            complete = all({"obs", "admissible"} <= point.keys() for point in points)
            complete = complete and all("won" in step for step in episode["steps"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{file}: episode {number} lacks or misforms {error}") from None
        if not complete or not all(isinstance(value, str) for value in fields):
            raise UserError(
                f"{file}: episode {number} needs obs and admissible everywhere, action and won in every step"
            )
    return episodes


def compare_engines(
    games: Iterable[Game], steps: int, seed: int, player: Callable[[str], Player] | None = None
) -> ParityResult:
    """Play both engines side by side, about `steps` steps over all games, and compare at each.

    Every game begins with the commands of `player` (made from the task sentence) until it is won or half of the game's
    steps are used, then a weighted random walk goes on, with inadmissible and malformed commands among the others.
    """
    from hiper.benchmarks.alfworld.textworld import TextWorldEngine

    chosen = list(games)
    tally = _Tally()
    own = NativeEngine()
    with closing(TextWorldEngine()) as original:
        for number, game in enumerate(chosen):
            random = np.random.default_rng([seed, number])
            text = read_game(game.folder)
            spec = parse_game(text, game.id)
            seen, reference = own.reset(spec), original.reset(text)
            tally.compare(f"{game.id} reset", None, _point(seen, own), _point(reference, original))
            lead = player(text.instruction) if player is not None else None
            budget = max(1, steps // len(chosen))
            for turn in range(1, budget + 1):
                lead = None if own.won or turn > budget // 2 else lead
                command = lead(seen, own.admissible) if lead else random_command(spec, own.admissible, random)
                seen, reference = own.step(command), original.step(command)
                tally.compare(f"{game.id} step {turn}", command, _point(seen, own), _point(reference, original))
    return tally.result()


def _point(observation: str, engine: Any) -> dict[str, Any]:
    return {"observation": observation, "admissible": engine.admissible, "won": engine.won}


def random_command(spec: GameSpec, admissible: Sequence[str], random: np.random.Generator) -> str:
    """A command that keeps a walk varied: rare verbs often, errands to where rare verbs apply, one in twelve odd."""
    chance = random.random()
    if chance < 1 / 12:
        thing, place = (str(random.choice([name for name in spec.names if name])) for _ in range(2))
        odd = str(random.choice(_ODD_COMMANDS)).format(o=thing, r=place)
        return odd if random.random() < 0.8 else f" {random.choice(admissible)} "
    errands = _errands(spec, admissible) if chance < 0.4 else []
    if errands:
        return str(random.choice(errands))
    verbs = sorted({command.split(" ", 1)[0] for command in admissible})
    weights = np.array([_VERB_WEIGHTS.get(verb, 1.0) for verb in verbs])
    verb = str(random.choice(verbs, p=weights / weights.sum()))
    return str(random.choice([command for command in admissible if command.split(" ", 1)[0] == verb]))


def _errands(spec: GameSpec, admissible: Sequence[str]) -> list[str]:
    """Ways to where what is in hand can be cleaned, heated, cooled or cut with; or the taking of such a thing."""
    carried = {command.removeprefix("examine ") for command in admissible if command.startswith("examine ")}
    hand = [number for number, name in enumerate(spec.names) if name in carried and number in spec.pickupable]
    if hand:
        places = [place for place, (_, treatable) in spec.treats.items() if hand[0] in treatable]
        if hand[0] in spec.knives:
            kept = {place for thing in spec.sliceable for place, things in spec.contents.items() if thing in things}
            places += sorted(kept)
        return [command for place in sorted(places) if (command := f"go to {spec.names[place]}") in admissible]
    rare = {*spec.knives, *(thing for _, treatable in spec.treats.values() for thing in treatable)}
    wanted = tuple(f"take {spec.names[thing]} from" for thing in sorted(rare) if spec.names[thing])
    return [command for command in admissible if wanted and command.startswith(wanted)]
