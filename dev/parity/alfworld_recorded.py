"""Finding the games that a recording was made on: in folders of ALFWorld's layout or in archives of it."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from dev.parity.recordings import places as data_places
from hiper.benchmarks.alfworld.games import GAME_FILE, layout_root
from hiper.errors import UserError

_ARCHIVES = ("*.tar", "*.tar.gz", "*.tgz", "*.tar.xz")
_LARGEST_GAME = 64 << 20  # bytes; real games have about 0.3 MB


@contextmanager
def located(games: Iterable[str], data: Path | None) -> Iterator[dict[str, Path]]:
    """The folder of each game `<split>/<task>/<trial>`; what lies in archives is unpacked while the context lasts.

    `data` is a folder in ALFWorld's layout, one with archives of it, or the parent of such a folder; None looks in
    $ALFWORLD_DATA, in the project's own data sets, in $HIPER_SHARED_DATA and in `shared` beside the project. UserError
    names games that are nowhere.
    """
    wanted = sorted(set(games))
    for game in wanted:
        _checked(game, "the recording")
    places = data_places(data, "ALFWORLD_DATA", "alfworld")
    found: dict[str, Path] = {}
    for place in places:
        for game in wanted:
            folder = layout_root(place) / game
            if game not in found and (folder / GAME_FILE).is_file():
                found[game] = folder
    with TemporaryDirectory(prefix="hiper-games-") as unpacked:
        missing = [game for game in wanted if game not in found]
        for archive in _archives(places):
            if not missing:
                break
            found.update(_unpack(archive, missing, Path(unpacked)))
            missing = [game for game in wanted if game not in found]
        if missing:
            looked = (
                str(data) if data else ", ".join(str(place) for place in places) or "nowhere (no such folder exists)"
            )
            raise UserError(
                f"{len(missing)} of {len(wanted)} recorded games not found, first {missing[0]}; looked in {looked}. "
                "Give --data DIR: a folder in ALFWorld's layout (json_2.1.1/<split>/...) or one with archives of it"
            )
        yield found


def _archives(places: Sequence[Path]) -> list[Path]:
    return [path for place in places for path in sorted({path for form in _ARCHIVES for path in place.glob(form)})]


def _unpack(archive: Path, games: Sequence[str], target: Path) -> dict[str, Path]:
    """Unpack the wanted game files only; no archive entry ever decides where something is written."""
    # json_2.1.1-valid_seen.tar.xz holds one split: reading the others to their end would take a minute.
    known = {game.split("/", 1)[0] for game in games}
    named = {split for split in ("train", "valid_seen", "valid_unseen", "valid_train") if f"-{split}." in archive.name}
    if named and not named & known:
        return {}
    wanted = {f"{game}/{GAME_FILE}": game for game in games}
    found: dict[str, Path] = {}
    try:
        with tarfile.open(archive, "r|*") as stream:
            for member in stream:
                parts = _checked(member.name, str(archive)).parts
                game = wanted.get("/".join(parts[-4:])) if len(parts) <= 6 else None
                if game is None or game in found or not member.isfile() or member.size > _LARGEST_GAME:
                    continue
                content = stream.extractfile(member)
                if content is None:
                    continue
                folder = target / game
                folder.mkdir(parents=True)
                (folder / GAME_FILE).write_bytes(content.read())
                found[game] = folder
                if len(found) == len(wanted):
                    break
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{archive}: not a readable archive ({error}); fetch it again") from None
    return found


def _checked(name: str, source: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"{source}: unsafe path {name!r}; only paths below json_2.1.1/ are accepted")
    return path
