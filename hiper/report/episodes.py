"""Every evaluation episode and the recorded episodes of training, turn by turn, as the report's page carries them.

The page holds an index of all episodes and, in parts of PART episodes of one run, what was seen, decided and credited
in each turn: JSON, compressed (zlib) and in base64, so that no text of a game or a model is markup. `templates/
episodes.js` opens the index first and a part when somebody looks at one of its episodes.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiper.benchmarks.record import record_of
from hiper.errors import UserError
from hiper.manifest import EVALUATION
from hiper.plan_execute import render, render_step
from hiper.plugins import ENVIRONMENTS, known
from hiper.records import read_jsonl, read_last_rows, require
from hiper.report.colours import colour
from hiper.report.study import Run, Study, folder_name
from hiper.report.text import printable
from hiper.runs.conditions import condition_of
from hiper.runs.episodes import BLOCKS, EPISODES, outcome
from hiper.runs.labels import task_label

PART = 64  # episodes that are opened together
RECENT = 256  # of a run's last so many recorded episodes of training
LONGEST = 4000  # characters of an observation or an answer
LARGEST = 48 << 20  # bytes of turns in a page, compressed and in base64
OUTCOMES = {"won": "won", "lost": "lost", "truncated": "out of turns", "failed": "broken"}
COLUMNS = ("run", "place", "type", "task", "outcome", "turns", "return", "score", "number", "iteration", "part", "at")
TRAINING = "training"
TURN = ("observation", "switch", "subgoal", "action", "valid", "problems", "reward")  # what every turn tells
_KEYS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "task_type": str,
    "won": bool,
    "truncated": bool,
    "turns": int,
    "decisions": list,
    "iteration": int,
    "number": int,
    "updated": list,
    "return": (int, float),
    "failure": (str, type(None)),
}


class Numbered:
    """Numbers things in the order in which they first come."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}

    def __call__(self, thing: Any) -> int:
        return self.numbers.setdefault(thing, len(self.numbers))


@dataclass
class Archive:
    """What the page carries: the `index`, the `parts`, and of how many episodes the turns found no room."""

    index: str = ""
    parts: list[str] = field(default_factory=list)
    left_out: int = 0
    size: int = 0

    def add(self, part: Part) -> int | None:
        """The number of a part that was added; None where the page has become too large for it."""
        text = part.packed()
        if self.size + len(text) > LARGEST:
            self.left_out += len(part.episodes)
            return None
        self.size += len(text)
        self.parts.append(text)
        return len(self.parts) - 1


class Part:
    """Episodes that are opened together; each text is there once."""

    def __init__(self) -> None:
        self.texts = Numbered()
        self.episodes: list[list[Any]] = []

    def text(self, text: str | None) -> int | None:
        """The number of a text; None for none."""
        if not text:
            return None
        rest = len(text) - LONGEST
        return self.texts(printable(text if rest <= 0 else f"{text[:LONGEST]} … ({rest} more characters)"))

    def packed(self) -> str:
        return _packed({"texts": [*self.texts.numbers], "episodes": self.episodes})


def archive(studies: Sequence[Study], experiment: Path) -> Archive:
    """All episodes of an experiment. UserError where a record of them is damaged."""
    found = Archive()
    runs, places, types, tasks = [], Numbered(), Numbered(), Numbered()
    rows: list[list[Any]] = []
    for number, study in enumerate(studies):
        for run in study.runs:
            runs.append([run.name, study.algorithms.index(run.algorithm), run.seed, number])
            part, first = Part(), len(rows)
            for place, name, row, path in _recorded(run, experiment):
                numbered = places(printable(place)), types((task_label(run.environment, row["task_type"]), number))
                task = tasks((printable(row["task"]), printable(row.get("instruction") or "")))
                rows.append(_row(row, printable(name), (len(runs) - 1, *numbered, task)))
                try:
                    packed = _episode(row, part, _reader(run, row))
                except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                    remedy = "remove the file, and the report does without it"
                    if path.name == EVALUATION:
                        remedy = "remove it and evaluate this run again"
                    told = f"{path}: {name} is damaged ({type(error).__name__}: {error}); {remedy}"
                    raise UserError(told) from None
                if packed is not None:
                    rows[-1][-1] = len(part.episodes)
                    part.episodes.append(packed)
                if len(part.episodes) == PART:
                    _close(found, part, rows[first:])
                    part, first = Part(), len(rows)
            if part.episodes:
                _close(found, part, rows[first:])
    index = {
        "studies": [_about(study, experiment) for study in studies],
        "runs": runs,
        "places": [*places.numbers],
        "types": [[printable(name), study] for name, study in types.numbers],
        "tasks": [*tasks.numbers],
        "outcomes": [*OUTCOMES.values()],
        "episodes": dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True)) if rows else {},
    }
    found.index = _packed(index)
    return found


def _about(study: Study, experiment: Path) -> dict[str, Any]:
    algorithms = [[name, study.label(name), colour(name)] for name in study.algorithms]
    folder = folder_name(experiment, study.runs[0]).rpartition("/")[0]
    return {"title": f"{study.benchmark}, {study.model}", "algorithms": algorithms, "folder": folder}


def _close(found: Archive, part: Part, rows: Sequence[list[Any]]) -> None:
    """Add a part, and tell the rows of its episodes where it is."""
    number = found.add(part)
    for row in rows:
        if row[-1] is not None:
            row[-2:] = [number, row[-1] if number is not None else None]


def _recorded(run: Run, experiment: Path) -> Iterator[tuple[str, str, Mapping[str, Any], Path]]:
    """(where it was played in words, its name for `hiper inspect`, row, file) of each."""
    path = experiment / "runs" / run.name / EVALUATION
    counted: Counter[str] = Counter()
    for row in (
        read_jsonl(path, partial_ok=True, remedy="remove it and evaluate this run again") if path.exists() else []
    ):
        condition = condition_of(row)
        yield condition.words, f"{condition.part}:{counted[condition.part]}", row, path
        counted[condition.part] += 1
    path = path.with_name(EPISODES)
    recorded = read_last_rows(path, RECENT) if path.exists() else []
    for row in recorded:
        require(row, _KEYS, f"{path}: one of the last {len(recorded)} rows")
        yield TRAINING, f"train:{row['iteration']}:{row['number']}", row, path


def _row(row: Mapping[str, Any], name: str, numbers: tuple[int, ...]) -> list[Any]:
    """A row of the index, by COLUMNS; `number` is what the name of the episode ends with."""
    ending = outcome(row["won"], bool(row.get("truncated")), row.get("failure"))
    score = row.get("score")
    return [
        *numbers,
        [*OUTCOMES].index(ending),
        row.get("turns"),
        row.get("return"),
        None if score in (None, float(row["won"])) else round(float(score), 3),
        name,
        row.get("iteration"),
        None,
        None,
    ]


def _reader(run: Run, row: Mapping[str, Any]) -> Callable[[str], str]:
    """How an observation of this episode is shown to people."""
    if run.environment not in known(ENVIRONMENTS):
        return str
    words, instruction = record_of(run.environment).words, row.get("instruction") or ""
    return lambda observation: words.read(observation, instruction)


def _episode(row: Mapping[str, Any], part: Part, read: Callable[[str], str]) -> list[Any] | None:
    """[turns, what was seen last, what broke it, what it was used for]; None where its turns were not recorded, or by a
    version that kept less of them."""
    decisions = row.get("decisions")
    if not decisions or not isinstance(decisions[0], Mapping) or not {*TURN} <= decisions[0].keys():
        return None
    used = len(row["updated"]) if "updated" in row else None  # None: evaluation; else how many networks it trained
    turns = [_turn(turn, part, read) for turn in decisions]
    return [turns, part.text(read(row.get("observation") or "")), part.text(row.get("failure")), used]


def _turn(turn: Mapping[str, Any], part: Part, read: Callable[[str], str]) -> list[Any]:
    """[seen, 0 KEEP / 1 SWITCH / None, subgoal, action, answer, problems, reward] and, in training, blocks, values and
    tokens with their credit. An answer that the others say in full is left out."""
    response = turn.get("response") or ""
    said = turn["valid"] and response in (
        render(turn["switch"], turn.get("subgoal_text") or "", turn["action"]),
        render_step(turn["switch"], turn["action"]),
    )
    return [
        part.text(read(turn["observation"])),
        None if turn["subgoal"] is None else int(turn["switch"]),
        part.text(turn["subgoal"]),
        part.text(turn["action"]),
        None if said else part.text(response),
        part.text("; ".join(map(str, turn["problems"]))),
        turn["reward"],
        *([list(_advantages(turn)), list(_values(turn)), _tokens(turn, part)] if "advantages" in turn else ()),
    ]


def _advantages(turn: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """(name, advantage, whether any of its tokens was trained) per block that the turn has; one in all, with the mean,
    where the credit is not by blocks."""
    advantages, spans, trained = turn["advantages"], turn["spans"], turn["token"]["trained"]
    if turn["whole_response"]:
        alike = len(set(turn["token"]["advantage"])) == 1
        yield "all tokens" if alike else "tokens, mean", round(advantages["other"], 3), int(any(trained))
        return
    for block in BLOCKS:
        if (span := spans[block]) is not None:
            yield block, round(advantages[block], 3), int(any(trained[span[0] : span[1]]))


def _values(turn: Mapping[str, Any]) -> Iterator[tuple[str, float, float | None]]:
    """(head, value, what it was trained towards)."""
    for head, value in turn["values"].items():
        target = turn["targets"].get(head)
        name = "V" if head == "state" else f"V {printable(head)}"
        yield name, round(value, 3), None if target is None else round(target, 3)


def _tokens(turn: Mapping[str, Any], part: Part) -> list[list[Any]]:
    """[texts, advantages, whether trained], an entry per token of the answer."""
    token = turn["token"]
    texts = [part.text(text) for text in token.get("text", ())]
    return [texts, [round(one, 3) for one in token["advantage"]], list(token["trained"])]


def _packed(content: Any) -> str:
    text = json.dumps(content, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
