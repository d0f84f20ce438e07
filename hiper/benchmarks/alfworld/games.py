"""Reading and selecting ALFWorld games: the on-disk layout, ALFWorld's own filters, a game's text, the index.

A game is a folder `<split>/<task folder>/<trial folder>/` with `traj_data.json` (what the task is) and `game.tw-pddl`
(JSON: `pddl_problem`, `grammar`, `pddl_domain`, `solvable`, newer files also `walkthrough`). The official games and
those made by `hiper.benchmarks.alfworld.generation` share this layout.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiper.benchmarks.places import folders
from hiper.errors import UserError
from hiper.records import FETCH_AGAIN, MAKE_DATA_AGAIN, leftover, read_json, require, write_json

GAME_FILE = "game.tw-pddl"
TRAJECTORY_FILE = "traj_data.json"
INDEX_FILE = "dataset.json"
LAYOUT_FOLDER = "json_2.1.1"  # what ALFWorld's own archives call the folder with the splits, whatever their version
SPLITS = ("train", "valid_seen", "valid_unseen")
LEVELS = 3  # how deep in an archive the splits are looked for

# Why a folder is no game.
NO_GAME = f"no {GAME_FILE}"
NO_TRAJECTORY = f"no {TRAJECTORY_FILE}"
UNSOLVABLE = "not solvable"
COPY = "a copy that a file manager made"
BROKEN_LINK = "a link that leads nowhere"

_TASK = re.compile(r'"(?:[^"\\]|\\.)*Your task is to: (?:[^"\\]|\\.)*"')
_TASK_PREFIX = "Your task is to: "


@dataclass(frozen=True)
class Game:
    """One playable game; `id` is `"<split>/<task folder>/<trial folder>"`, `folder` holds its files."""

    id: str
    split: str
    task_type: str
    folder: Path


@dataclass(frozen=True)
class GameText:
    """What an engine needs of a game besides the logic files of the installed `alfworld`.

    `problem` is the PDDL problem. `instruction` is the task sentence exactly as TextWorld prints it after
    "Your task is to: ", final full stop included ("examine the bowl with the desklamp.").
    """

    problem: str
    instruction: str


def layout_root(root: Path) -> Path:
    """The folder that holds the splits: `root` itself, or `root/json_2.1.1` when `root` is its parent."""
    nested = root / LAYOUT_FOLDER
    return nested if nested.is_dir() else root


def split_folders(root: Path) -> list[Path]:
    """The folders that hold most of the splits, `root` or up to LEVELS below it."""
    level, counts = [root], dict[Path, int]()
    for _ in range(LEVELS + 1):
        counts |= {folder: sum((folder / split).is_dir() for split in SPLITS) for folder in level}
        level = [child for folder in level for child in folders(folder) if child.name not in SPLITS]
    most = max(counts.values())
    return [folder for folder, count in counts.items() if count == most > 0]


@dataclass(frozen=True)
class Search:
    """The games of a split, sorted by id; `left_out`: the folders that ALFWorld passes over though they seem to be of
    games asked for, by reason, sorted."""

    games: list[Game]
    left_out: dict[str, list[str]]


def search_games(root: Path, split: str, task_types: Sequence[str]) -> Search:
    """All games of a split that ALFWorld itself would play, and what seemed to be some.

    The filters are those of `AlfredTWEnv.collect_game_files`: the folder holds `traj_data.json`, its path has neither
    `movable` nor `Sliced` in it (only the path below the split is looked at, so the place of the data does not matter),
    the task type is asked for, `game.tw-pddl` exists and its `solvable` is present and true. Unlike the original, the
    order does not depend on the file system, links to folders are followed, and copies that a file manager made (`trial
    (copy)`) are no games. Raises UserError for a missing split or an unreadable file.
    """
    folder = layout_root(root) / split
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; expected ALFWorld's layout, {LAYOUT_FOLDER}/<split>/<task>/<trial>/"
        )
    games, left_out = list[Game](), dict[str, list[str]]()
    for path, files in walk(folder):
        relative = path.relative_to(folder).as_posix()
        broken = [name for name in files if (path / name).is_symlink() and not (path / name).exists()]
        for name in broken:
            left_out.setdefault(BROKEN_LINK, []).append(f"{split}/{relative}/{name}".replace("/./", "/"))
        files = [name for name in files if name not in broken]
        if not {TRAJECTORY_FILE, GAME_FILE} & set(files) or "movable" in relative or "Sliced" in relative:
            continue
        reason, task_type = None, ""
        if any(map(leftover, relative.split("/"))):
            reason = COPY
        elif TRAJECTORY_FILE not in files:
            reason = NO_TRAJECTORY
        else:
            task_type = _string(path / TRAJECTORY_FILE, _mapping(path / TRAJECTORY_FILE), "task_type")
            if task_type not in task_types:
                continue
            if GAME_FILE not in files:
                reason = NO_GAME
            elif not _solvable(path / GAME_FILE):
                reason = UNSOLVABLE
        if reason is None:
            games.append(Game(f"{split}/{relative}", split, task_type, path))
        else:
            left_out.setdefault(reason, []).append(f"{split}/{relative}")
    games.sort(key=lambda game: game.id)
    return Search(games, {reason: sorted(names) for reason, names in sorted(left_out.items())})


def find_games(root: Path, split: str, task_types: Sequence[str]) -> list[Game]:
    """The games that `search_games` finds, for those who need not know what was left out."""
    return search_games(root, split, task_types).games


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below (links followed, each real folder once) and its files."""
    seen: set[str] = set()
    for path, inside, files in os.walk(folder, followlinks=True):
        inside.sort()
        if (real := os.path.realpath(path)) in seen:
            inside.clear()
        else:
            seen.add(real)
            yield Path(path), files


def read_game(folder: Path) -> GameText:
    """The problem and the task sentence of the game in `folder`; UserError names a missing, cut-off or foreign file."""
    path = folder / GAME_FILE
    return _text(path, _mapping(path))


def _text(path: Path, content: Mapping[str, Any]) -> GameText:
    return GameText(_string(path, content, "pddl_problem"), _instruction(path, _string(path, content, "grammar")))


def write_index(
    root: Path,
    dataset: str,
    source: Mapping[str, Any],
    games: Sequence[Game],
    left_out: Mapping[str, Mapping[str, int]] | None = None,
) -> None:
    """Write `root/dataset.json`: the dataset's name, the source it really came from, its games and their counts;
    `left_out`, how many folders of a split were no games, by reason, where there are any.

    `source` must not hold anything that differs between machines (no absolute paths, no dates): the file is versioned.
    """
    splits: dict[str, list[dict[str, str]]] = {}
    for game in sorted(games, key=lambda game: game.id):
        splits.setdefault(game.split, []).append({"id": game.id, "task_type": game.task_type})
    counts = {
        split: {"total": len(rows), **Counter(row["task_type"] for row in rows)}
        for split, rows in sorted(splits.items())
    }
    content: dict[str, Any] = {"dataset": dataset, "source": dict(source), "counts": counts, "splits": splits}
    if left_out:
        content["left_out"] = left_out
    write_json(root / INDEX_FILE, content)


def read_index(root: Path) -> dict[str, list[Game]]:
    """The games of `root/dataset.json` by split, each split sorted by id; UserError when it is missing or malformed."""
    path = root / INDEX_FILE
    if not path.exists():
        raise UserError(f"{path}: no such file; make the data set first (`hiper data repro {root.name}`)")
    splits = require(_mapping(path, MAKE_DATA_AGAIN), {"splits": dict}, str(path))["splits"]
    require(splits, dict.fromkeys(splits, list), f"{path}, splits")
    return {
        split: sorted((_indexed(root, split, row) for row in rows), key=lambda game: game.id)
        for split, rows in sorted(splits.items())
    }


def _indexed(root: Path, split: str, row: Any) -> Game:
    where = f"{root / INDEX_FILE}, {split}"
    row = require(row, {"id": str, "task_type": str}, where)
    parts = row["id"].split("/")
    if len(parts) < 2 or parts[0] != split or {"", ".", ".."} & set(parts) or not row["id"].isprintable():
        raise UserError(f"{where}: `id` = {row['id'][:120]!r} must be a path {split}/<task>/<trial>")
    return Game(row["id"], split, row["task_type"], root / row["id"])


def _mapping(path: Path, remedy: str = FETCH_AGAIN) -> dict[str, Any]:
    content = read_json(path, remedy)
    if not isinstance(content, dict):
        raise UserError(
            f"{path}: expected a JSON object, found {type(content).__name__}; the file is not an ALFWorld file"
        )
    return content


def _string(path: Path, content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise UserError(f"{path}: key `{key}` is missing or not a text; the file is damaged or not an ALFWorld file")
    return value


def _solvable(path: Path) -> bool:
    """As the game says; UserError for one that can be solved and not be read."""
    content = _mapping(path)
    return bool(content.get("solvable", False)) and bool(_text(path, content))


def _instruction(path: Path, grammar: str) -> str:
    found = _TASK.search(grammar)
    if found is None:
        raise UserError(f'{path}: the grammar has no sentence "{_TASK_PREFIX}..."; fetch or make the game again')
    try:
        sentence: str = json.loads(found.group())
    except ValueError as error:
        raise UserError(f"{path}: the grammar's task sentence is damaged ({error}); fetch the game again") from None
    return sentence.split(_TASK_PREFIX, 1)[1]
