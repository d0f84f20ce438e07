"""Where a data set's games come from, and putting them into one self-contained folder with an index.

The sources, in the order in which `auto` tries them: a folder in ALFWorld's layout, local archives, the official
download, generation. Whichever was used is written into the index: official and generated games must not be mixed up.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from hiper.benchmarks.alfworld.games import (
    GAME_FILE,
    NO_GAME,
    SPLITS,
    TRAJECTORY_FILE,
    UNSOLVABLE,
    Game,
    layout_root,
    search_games,
    split_folders,
    write_index,
)
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.settings import Data, TaskType
from hiper.benchmarks.archives import Download, Unavailable, building, extract, fetch
from hiper.benchmarks.places import contents, named_folder, near
from hiper.errors import UserError
from hiper.paths import expanded
from hiper.records import sha256_file

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "ALFWORLD_DATA"

# The files that `alfworld-download` of alfworld 0.4.2 fetches for text games. Their publisher states no checksums; the
# index records what was received, and whoever has verified a copy can pin it here.
OFFICIAL = (
    Download("https://github.com/alfworld/alfworld/releases/download/0.2.2/json_2.1.1_json.zip"),
    Download("https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip"),
)

GAMES_ARCHIVE = "json_2.1.2_tw-pddl.zip"  # of these, the one that brings game.tw-pddl
OFFICIAL_GAMES = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}  # of all six task types
WANTED = f"a folder with the splits {', '.join(SPLITS)}, each with <task>/<trial>/{TRAJECTORY_FILE} and {GAME_FILE}"

LeftOut = dict[str, dict[str, list[str]]]  # split -> reason -> folders


def make_dataset(
    dataset: str,
    data: Data,
    task_types: Sequence[str],
    output: Path,
    downloads: Sequence[Download] = OFFICIAL,
) -> dict[str, Any]:
    """Make the folder `output` (`<split>/<task>/<trial>/`, `dataset.json`) anew, whole or not at all.

    Only the games that ALFWorld's filters and `task_types` select are taken, each with its two files. Returns the
    index's `source`. Folders that seem to be games and are none are counted in the log and the index. Raises UserError
    when the source named in `data` cannot be used, when a split has no game, or more folders without a file than games.
    """
    with building(output) as folder:
        source, games, left_out = _collect(data, task_types, folder, output.parent, downloads)
        if not games:
            raise UserError(f"{dataset}: source {source['kind']} has no game of the task types {', '.join(task_types)}")
        if source["kind"] != "generate":
            _tell_repeated(games, dataset)
        write_index(folder, dataset, source, games, _counted(left_out))
    logger.info("%s: %d games from source %s", output, len(games), source["kind"])
    return source


def _collect(
    data: Data, task_types: Sequence[str], folder: Path, parent: Path, downloads: Sequence[Download]
) -> tuple[dict[str, Any], list[Game], LeftOut]:
    automatic = data.source == "auto"
    if data.source in ("auto", "folder") and (root := games_folder(data)) is not None:
        return {"kind": "folder"}, *_take(root, str(root), task_types, folder, move=False)
    if data.source == "folder":
        raise UserError(f"data.source is folder: set data.folder or the environment variable {FOLDER_VARIABLE}")
    if data.source == "archives" or (automatic and _archives_apply(data)):
        archives = [expanded(name, "data.archives") for name in data.archives]
        if not archives:
            raise UserError("data.source is archives but data.archives is empty; list the archive files there")
        taken = _unpack(archives, task_types, folder)
        return {"kind": "archives", "files": [_identity(archive) for archive in archives]}, *taken
    if data.source == "download" or automatic:
        try:
            return _download(downloads, task_types, folder, parent / ".downloads")
        except Unavailable as error:
            if not automatic:
                raise
            logger.warning("%s; games are GENERATED instead of the official ones", error)
    games = generate_games(folder, task_types, data.generate)
    return {"kind": "generate", "alfworld": version("alfworld"), "settings": data.generate.model_dump()}, games, {}


def games_folder(data: Data) -> Path | None:
    """The folder with the splits that the settings or the environment name; None where neither names one.

    Either may name it or its parent. UserError for any other folder, with the one to name where it lies near: data from
    another source must not take the place of what somebody has named.
    """
    folder = expanded(data.folder, "data.folder") if data.folder else named_folder(FOLDER_VARIABLE)
    if folder is None or any((layout_root(folder) / split).is_dir() for split in SPLITS):
        return None if folder is None else layout_root(folder)
    name = "data.folder" if data.folder else FOLDER_VARIABLE
    if not folder.is_dir():
        raise UserError(f"{name} is {folder}: no such folder; correct it, or unset it for another source")
    found = near(folder, lambda place: all((place / split).is_dir() for split in SPLITS))
    advice = f"name {found} instead" if found else f"it has {contents(folder)}; correct it, or unset it"
    raise UserError(f"{name} is {folder}, which is not {WANTED}; {advice}")


def _archives_apply(data: Data) -> bool:
    missing = [name for name in data.archives if not expanded(name, "data.archives").exists()]
    if missing and len(missing) < len(data.archives):
        raise UserError(
            f"data.archives: {', '.join(missing)} missing while others are there; add them, or empty data.archives"
        )
    return bool(data.archives) and not missing


def _unpack(archives: Sequence[Path], task_types: Sequence[str], folder: Path) -> tuple[list[Game], LeftOut]:
    """Unpack beside `folder`, inside the workspace that `building` removes, and take the games from there: archives
    over each other, whatever the folder is called that holds the splits in each."""
    together = folder.parent / "unpacked"
    for number, archive in enumerate(archives):
        logger.info("unpacking %s", archive)
        alone = folder.parent / f"archive{number}"
        alone.mkdir()
        extract(archive, alone)
        found = split_folders(alone)
        if len(found) != 1:
            several = " and ".join(str(place.relative_to(alone)) for place in found)
            problem = f"holds the splits twice, in {several}" if found else f"has {contents(alone)} at its top"
            raise UserError(f"{archive}: {problem}; wanted is {WANTED}")
        for path in sorted(path for split in SPLITS for path in (found[0] / split).rglob("*") if path.is_file()):
            target = together / path.relative_to(found[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    names = ", ".join(map(str, archives))
    try:
        return _take(together, names, task_types, folder, move=True)
    except UserError as error:  # the place is gone when somebody reads this
        raise UserError(str(error).replace(f"{together}/", f"{names}: ")) from None


def _download(
    downloads: Sequence[Download], task_types: Sequence[str], folder: Path, cache: Path
) -> tuple[dict[str, Any], list[Game], LeftOut]:
    """`cache` lies outside the data set, so that an interrupted download survives; it is removed when all is done."""
    archives = [fetch(download, cache) for download in downloads]
    files = [
        {"url": download.url, **_identity(archive), "verified": download.sha256 is not None}
        for download, archive in zip(downloads, archives, strict=True)
    ]
    for file in files:
        if not file["verified"]:
            logger.warning("%s: no checksum is pinned; received sha256 %s", file["url"], file["sha256"])
    taken = _unpack(archives, task_types, folder)
    shutil.rmtree(cache)
    return {"kind": "download", "files": files}, *taken


def _identity(archive: Path) -> dict[str, Any]:
    return {"name": archive.name, "sha256": sha256_file(archive)}


def _take(root: Path, name: str, task_types: Sequence[str], folder: Path, *, move: bool) -> tuple[list[Game], LeftOut]:
    """Move or copy the selected games' files into `folder`; UserError, which calls the source `name`, when a split is
    missing or has too few games.

    A user's own folder is copied, not hard-linked: DVC makes what it tracks read-only, and a link would pass that on to
    the original.
    """
    games, left_out = list[Game](), LeftOut()
    for split in SPLITS:
        search = search_games(root, split, task_types)
        left_out[split] = search.left_out
        _require_games(split, name, search.games, search.left_out, task_types)
        for game in search.games:
            target = folder / game.id
            target.mkdir(parents=True)
            for file in (GAME_FILE, TRAJECTORY_FILE):
                if move:
                    (game.folder / file).rename(target / file)
                else:
                    shutil.copyfile(game.folder / file, target / file)
            games.append(Game(game.id, split, game.task_type, target))
    if listed := fewer_games(Counter(game.split for game in games), task_types):
        logger.warning("%s: fewer games than the official data have: %s", name, listed)
    return games, left_out


def _tell_repeated(games: Sequence[Game], dataset: str) -> None:
    """Say which games are copies of another, to the letter: ALFWorld plays them too, but they count twice, and one of
    train is no longer unseen elsewhere."""
    first: dict[str, str] = {}
    repeated = [
        (game.id, earlier)
        for game in games
        if (earlier := first.setdefault(sha256_file(game.folder / GAME_FILE), game.id)) != game.id
    ]
    if repeated:
        shown = "; ".join(f"{game} is {earlier}" for game, earlier in repeated[:3])
        message = "%s: copies of another game, which are played as well: %d (%s)"
        logger.warning(message, dataset, len(repeated), shown + ("; …" if len(repeated) > 3 else ""))


def fewer_games(counts: Mapping[str, int], task_types: Sequence[str]) -> str:
    """Where the official data have more games than `counts` says of the splits, in words; empty where they do not, or
    where only some task types are asked for."""
    lacking = any(counts.get(split, 0) < number for split, number in OFFICIAL_GAMES.items())
    if set(task_types) != set(get_args(TaskType)) or not lacking:
        return ""
    return ", ".join(f"{split} {counts.get(split, 0):,} of {number:,}" for split, number in OFFICIAL_GAMES.items())


def _require_games(
    split: str, name: str, games: Sequence[Game], left_out: Mapping[str, list[str]], task_types: Sequence[str]
) -> None:
    """Say what is left out of a split; UserError when it has no game, or fewer than folders that lack a file."""
    lacking = 0
    for reason, folders in left_out.items():
        whole = reason == UNSOLVABLE  # ALFWorld's own choice: of the official games too
        lacking += 0 if whole else len(folders)
        message = "%s: %s: %d of %d folders left out: %s (first: %s)"
        total = len(games) + sum(map(len, left_out.values()))
        logger.log(
            logging.INFO if whole else logging.WARNING, message, name, split, len(folders), total, reason, folders[0]
        )
    if games and lacking <= len(games):
        return
    problem = f"split {split} has {len(games) or 'no'} game{'' if len(games) == 1 else 's'} of the task types "
    problem += ", ".join(task_types)
    for reason, folders in left_out.items():
        problem += f"; {len(folders)} left out: {reason} (first: {folders[0]})"
    fetch_it = (
        f"; {GAME_FILE} comes with {GAMES_ARCHIVE} (`alfworld-download` fetches it)" if NO_GAME in left_out else ""
    )
    raise UserError(f"{name}: {problem}{fetch_it}; complete the split, or change benchmark.task_types")


def _counted(left_out: LeftOut) -> dict[str, dict[str, int]]:
    """How many folders each split leaves out, by reason; only what there is."""
    return {
        split: {reason: len(folders) for reason, folders in reasons.items()}
        for split, reasons in left_out.items()
        if reasons
    }
