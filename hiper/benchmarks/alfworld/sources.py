"""Where a data set's games come from, and putting them into one self-contained folder with an index.

The sources, in the order in which `auto` tries them: a folder in ALFWorld's layout, local archives, the official
download, generation. Whichever was used is written into the index: official and generated games must not be mixed up.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hiper.benchmarks.alfworld.games import (
    GAME_FILE,
    TRAJECTORY_FILE,
    Game,
    find_games,
    layout_root,
    write_index,
)
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.archives import Download, Unavailable, building, extract, fetch
from hiper.benchmarks.places import named_folder
from hiper.config.benchmark import Data
from hiper.errors import UserError
from hiper.paths import expanded
from hiper.records import sha256_file

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid_seen", "valid_unseen")
FOLDER_VARIABLE = "ALFWORLD_DATA"

# The files that `alfworld-download` of alfworld 0.4.2 fetches for text games. Their publisher states no checksums; the
# index records what was received, and whoever has verified a copy can pin it here.
OFFICIAL = (
    Download("https://github.com/alfworld/alfworld/releases/download/0.2.2/json_2.1.1_json.zip"),
    Download("https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip"),
)


def make_dataset(
    dataset: str,
    data: Data,
    task_types: Sequence[str],
    output: Path,
    downloads: Sequence[Download] = OFFICIAL,
) -> dict[str, Any]:
    """Make the folder `output` (`<split>/<task>/<trial>/`, `dataset.json`) anew, whole or not at all.

    Only the games that ALFWorld's filters and `task_types` select are taken, each with its two files. Returns the
    index's `source`. Raises UserError when the source named in `data` cannot be used, or gives no game at all.
    """
    with building(output) as folder:
        source, games = _collect(data, task_types, folder, output.parent, downloads)
        if not games:
            raise UserError(f"{dataset}: source {source['kind']} has no game of the task types {', '.join(task_types)}")
        write_index(folder, dataset, source, games)
    logger.info("%s: %d games from source %s", output, len(games), source["kind"])
    return source


def _collect(
    data: Data, task_types: Sequence[str], folder: Path, parent: Path, downloads: Sequence[Download]
) -> tuple[dict[str, Any], list[Game]]:
    automatic = data.source == "auto"
    if data.source == "folder" or (automatic and _folder_applies(data)):
        return {"kind": "folder"}, _take(_games_folder(data), task_types, folder, move=False)
    if data.source == "archives" or (automatic and _archives_apply(data)):
        archives = [expanded(name, "data.archives") for name in data.archives]
        if not archives:
            raise UserError("data.source is archives but data.archives is empty; list the archive files there")
        games = _unpack(archives, task_types, folder)
        return {"kind": "archives", "files": [_identity(archive) for archive in archives]}, games
    if data.source == "download" or automatic:
        try:
            return _download(downloads, task_types, folder, parent / ".downloads")
        except Unavailable as error:
            if not automatic:
                raise
            logger.warning("%s; games are GENERATED instead of the official ones", error)
    games = generate_games(folder, task_types, data.generate)
    return {"kind": "generate", "alfworld": version("alfworld"), "settings": data.generate.model_dump()}, games


def _folder_applies(data: Data) -> bool:
    """A folder named in the settings always does; one named by the environment if it holds games."""
    if data.folder is not None:
        return True
    folder = named_folder(FOLDER_VARIABLE)
    applies = folder is not None and (layout_root(folder) / SPLITS[0]).is_dir()
    if folder is not None and not applies:
        logger.warning("%s is %s, which holds no games: the next source is tried", FOLDER_VARIABLE, folder)
    return applies


def _games_folder(data: Data) -> Path:
    folder = expanded(data.folder, "data.folder") if data.folder else named_folder(FOLDER_VARIABLE)
    if folder is None:
        raise UserError(f"data.source is folder: set data.folder or the environment variable {FOLDER_VARIABLE}")
    return folder


def _archives_apply(data: Data) -> bool:
    missing = [name for name in data.archives if not expanded(name, "data.archives").exists()]
    if missing and len(missing) < len(data.archives):
        raise UserError(f"data.archives: {', '.join(missing)} missing while others are there; add them or remove all")
    return bool(data.archives) and not missing


def _unpack(archives: Sequence[Path], task_types: Sequence[str], folder: Path) -> list[Game]:
    """Unpack beside `folder`, inside the workspace that `building` removes, and take the games from there."""
    unpacked = folder.parent / "unpacked"
    unpacked.mkdir()
    for archive in archives:
        logger.info("unpacking %s", archive)
        extract(archive, unpacked)
    return _take(unpacked, task_types, folder, move=True)


def _download(
    downloads: Sequence[Download], task_types: Sequence[str], folder: Path, cache: Path
) -> tuple[dict[str, Any], list[Game]]:
    """`cache` lies outside the data set, so that an interrupted download survives; it is removed when all is done."""
    archives = [fetch(download, cache) for download in downloads]
    files = [
        {"url": download.url, **_identity(archive), "verified": download.sha256 is not None}
        for download, archive in zip(downloads, archives, strict=True)
    ]
    for file in files:
        if not file["verified"]:
            logger.warning("%s: no checksum is pinned; received sha256 %s", file["url"], file["sha256"])
    games = _unpack(archives, task_types, folder)
    shutil.rmtree(cache)
    return {"kind": "download", "files": files}, games


def _identity(archive: Path) -> dict[str, Any]:
    return {"name": archive.name, "sha256": sha256_file(archive)}


def _take(root: Path, task_types: Sequence[str], folder: Path, *, move: bool) -> list[Game]:
    """Move or copy the selected games' files into `folder`; UserError when a split is missing.

    A user's own folder is copied, not hard-linked: DVC makes what it tracks read-only, and a link would pass that on to
    the original.
    """
    games = []
    for split in SPLITS:
        for game in find_games(root, split, task_types):
            target = folder / game.id
            target.mkdir(parents=True)
            for name in (GAME_FILE, TRAJECTORY_FILE):
                if move:
                    (game.folder / name).rename(target / name)
                else:
                    shutil.copyfile(game.folder / name, target / name)
            games.append(Game(game.id, split, game.task_type, target))
    return games
