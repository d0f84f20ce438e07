"""Where a data set's products come from, and making the data set of them.

The sources, in the order in which `auto` tries them: a folder with WebShop's own files, the official download, the
generated catalogue. Whichever was used is written into the data set: real and generated products must not be mixed up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hiper.benchmarks.archives import Download, Unavailable, building, fetch
from hiper.benchmarks.places import contents, named_folder, near
from hiper.benchmarks.webshop import catalogue
from hiper.benchmarks.webshop.making import RawFiles, write_dataset
from hiper.benchmarks.webshop.settings import WebshopData, WebshopSettings
from hiper.errors import UserError
from hiper.paths import expanded
from hiper.records import atomic_write, sha256_file

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "WEBSHOP_DATA"
ITEMS = {"small": "items_shuffle_1000.json", "full": "items_shuffle.json"}
INSTRUCTIONS = {"small": "items_ins_v2_1000.json", "full": "items_ins_v2.json"}
HUMAN = "items_human_ins.json"  # of the full set; those of other products are passed over

_NOT_GENERATED = "data.goals.kind is human, and human instructions cannot be generated; set it to synthetic"


def _drive(name: str, identity: str) -> Download:
    """A file of Google Drive, by the address that its page about large files leads to."""
    address = f"https://drive.usercontent.google.com/download?id={identity}&export=download&confirm=t"
    return Download(address, file_name=name)


# The files that WebShop's `setup.sh` fetches. Their publisher states no checksums; the data set records what was
# received, and whoever has verified a copy can pin it here.
OFFICIAL = {
    download.name: download
    for download in (
        _drive(ITEMS["small"], "1EgHdxQ_YxqIQlvvq5iKlCrkEKR6-j0Ib"),
        _drive(INSTRUCTIONS["small"], "1IduG0xl544V_A_jv3tHXC0kyFi7PnyBu"),
        _drive(ITEMS["full"], "1A2whVgOO0euk5O13n2iYDM0bQRkkRduB"),
        _drive(INSTRUCTIONS["full"], "1s2j6NgHljiZzQNL3veZaAiyW_qDEgBNi"),
        _drive(HUMAN, "14Kb5SPBk_jfdLZ_CDBNitW98QLDlKR5O"),
    )
}


def make_dataset(
    settings: WebshopSettings, output: Path, downloads: Mapping[str, Download] = OFFICIAL
) -> dict[str, Any]:
    """Make the folder `output` (see `making`) anew, whole or not at all; returns the data set's `source`.

    `downloads` has one entry per file name. Raises UserError when the source named in the settings cannot be used, or
    its products give no goals.
    """
    cache = output.parent / ".downloads"  # outside the data set, so that an interrupted download survives
    with building(output) as folder:
        source, raw = _collect(settings.data, folder.parent, cache, downloads)
        counts = write_dataset(folder, settings.dataset, source, raw, settings.data.goals)
    if source["kind"] == "download":
        _forget(raw, cache)
    logger.info("%s: %d products, %d goals from source %s", output, counts["products"], counts["goals"], source["kind"])
    return source


def _collect(
    data: WebshopData, workspace: Path, cache: Path, downloads: Mapping[str, Download]
) -> tuple[dict[str, Any], RawFiles]:
    """The source's description, without anything that differs between machines, and its files."""
    automatic = data.source == "auto"
    if data.source in ("auto", "folder") and (raw := files_in_folder(data)) is not None:
        return {"kind": "folder", "products": data.products, "files": [_identity(path) for path in raw]}, raw
    if data.source == "folder":
        raise UserError(f"data.source is folder: set data.folder or the environment variable {FOLDER_VARIABLE}")
    if data.source == "download" or automatic:
        try:
            return _download(data, cache, downloads)
        except Unavailable as error:
            if not automatic:
                raise
            if data.goals.kind == "human":
                raise UserError(
                    f"{error}; human instructions cannot be generated: set data.goals.kind: synthetic"
                ) from None
            logger.warning("%s; products are GENERATED instead of the official ones", error)
    return {"kind": "generate", "settings": data.generate.model_dump()}, _generate(data, workspace / "raw")


def files_in_folder(data: WebshopData) -> RawFiles | None:
    """The files in the folder that the settings or the environment name; None where neither names one.

    UserError for a folder without them, with the one to name where it lies near: data from another source must not take
    the place of what somebody has named.
    """
    folder = expanded(data.folder, "data.folder") if data.folder else named_folder(FOLDER_VARIABLE)
    if folder is None:
        return None
    name = "data.folder" if data.folder else FOLDER_VARIABLE
    if not folder.is_dir():
        raise UserError(f"{name} is {folder}: no such folder; correct it, or unset it for another source")
    return _raw(data, lambda file: _existing(name, folder, file))


def _existing(name: str, folder: Path, file: str) -> Path:
    found = _found(folder, file)
    if found is None:
        place = near(folder, lambda place: _found(place, file) is not None)
        advice = f"name {place} instead" if place else f"it has {contents(folder)}; put WebShop's files there"
        raise UserError(
            f"{name} is {folder}: no {file} (or {file}.gz), nor in its folder `data`; {advice}, or change "
            "data.products or data.source"
        )
    return found


def _found(folder: Path, name: str) -> Path | None:
    """The file, plain or packed, in the folder or in `data`, where a checkout of WebShop has it."""
    for place in (folder, folder / "data"):
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _raw(data: WebshopData, get: Callable[[str], Path]) -> RawFiles:
    human = get(HUMAN) if data.goals.kind == "human" else None
    return RawFiles(get(ITEMS[data.products]), get(INSTRUCTIONS[data.products]), human)


def _download(data: WebshopData, cache: Path, downloads: Mapping[str, Download]) -> tuple[dict[str, Any], RawFiles]:
    raw = _raw(data, lambda name: _fetched(downloads[name], cache))
    files = []
    for path in raw:
        download = downloads[path.name]
        file = {"url": download.url, **_identity(path), "verified": download.sha256 is not None}
        if not file["verified"]:
            logger.warning("%s: no checksum is pinned; received sha256 %s", path.name, file["sha256"])
        files.append(file)
    return {"kind": "download", "products": data.products, "files": files}, raw


def _fetched(download: Download, cache: Path) -> Path:
    """The complete file; Unavailable when a page came in its place, as when too many people ask for it."""
    path = fetch(download, cache)
    with path.open("rb") as stream:
        start = stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith((b"[", b"{")):
        path.unlink()
        raise Unavailable(
            f"{download.url}: answers with a page instead of {download.name}; fetch it with a browser into a folder "
            "and set data.folder, or try again tomorrow"
        )
    return path


def _generate(data: WebshopData, folder: Path) -> RawFiles:
    """The catalogue as raw files, so that it takes the real ones' way; both are written product by product."""
    raw = RawFiles(folder / ITEMS["small"], folder / INSTRUCTIONS["small"], None)
    if data.goals.kind == "human":
        raise UserError(f"data.source is generate: {_NOT_GENERATED}")
    with atomic_write(raw.items) as items, atomic_write(raw.instructions) as instructions:
        for number, (item, entry) in enumerate(catalogue.draw(data.generate.products, data.generate.seed)):
            items.write((",\n" if number else "[") + json.dumps(item))
            instructions.write((",\n" if number else "{") + f"{json.dumps(item['asin'])}: {json.dumps(entry)}")
        items.write("]\n")
        instructions.write("}\n")
    return raw


def _forget(raw: RawFiles, cache: Path) -> None:
    """Remove what was downloaded; another data set may be fetching beside it."""
    for path in raw:
        path.unlink()
    with suppress(OSError):
        cache.rmdir()


def _identity(path: Path) -> dict[str, Any]:
    return {"name": path.name, "sha256": sha256_file(path)}
