"""Sources of games: folder, archives, download, generation; and what must not get past them."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from hiper.benchmarks.alfworld.games import Game, read_game, read_index
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.settings import Data, Generation
from hiper.benchmarks.alfworld.sources import make_dataset
from hiper.benchmarks.archives import Download, Unavailable, building, extract, fetch
from hiper.errors import UserError
from hiper.stages.data import make

ROOT = Path(__file__).resolve().parents[2]
TYPES = ("pick_and_place_simple", "look_at_obj_in_light")
SIZES = Generation(seed=1, receptacles=4, objects=2, train=4, valid_seen=2, valid_unseen=2)
NOWHERE = Download("http://127.0.0.1:9/games.zip")  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def no_folder_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Game]]:
    """A folder as $ALFWORLD_DATA points to, with games and a file that is none of the data set's business."""
    root = tmp_path_factory.mktemp("alfworld")
    games = generate_games(root / "json_2.1.1", TYPES, SIZES)
    (root / "json_2.1.1" / "train" / "notes.txt").write_text("mine")
    return root, games


def data(source: str = "auto", folder: Path | None = None, archives: list[Path] | None = None) -> Data:
    names = [str(path) for path in archives or []]
    return Data.model_validate(
        {"source": source, "folder": str(folder) if folder else None, "archives": names, "generate": SIZES.model_dump()}
    )


def tar(path: Path, folder: Path) -> Path:
    with tarfile.open(path, f"w:{path.suffix.removeprefix('.')}") as archive:
        archive.add(folder, folder.name)
    return path


def zipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def ids(output: Path) -> list[str]:
    return [game.id for games in read_index(output).values() for game in games]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_copied_and_left_as_it_was(layout: tuple[Path, list[Game]], tmp_path: Path) -> None:
    """The data set holds its own copies of the games' two files each, and nothing else but the index."""
    root, games = layout
    source = make_dataset("name", data(folder=root), TYPES, tmp_path / "out")
    assert source == {"kind": "folder"}
    assert ids(tmp_path / "out") == [game.id for game in games]
    assert len(files(tmp_path / "out")) == 2 * len(games) + 1
    copied = read_index(tmp_path / "out")["train"][0]
    assert read_game(copied.folder) == read_game(root / "json_2.1.1" / copied.id)
    assert (root / "json_2.1.1" / copied.id / "game.tw-pddl").stat().st_nlink == 1


def test_only_the_asked_for_task_types_are_taken(layout: tuple[Path, list[Game]], tmp_path: Path) -> None:
    """Half of the eight games are look tasks."""
    make_dataset("name", data(folder=layout[0]), TYPES[1:], tmp_path / "out")
    assert {game.task_type for games in read_index(tmp_path / "out").values() for game in games} == {TYPES[1]}
    assert len(ids(tmp_path / "out")) == 4


@pytest.mark.parametrize("ending", ["tar.xz", "tar.gz", "zip"])
def test_every_kind_of_archive_gives_the_same_games(
    layout: tuple[Path, list[Game]], tmp_path: Path, ending: str
) -> None:
    """The index names the archive and its checksum; nothing of the unpacking stays beside the data set."""
    archive = (zipped if ending == "zip" else tar)(tmp_path / f"games.{ending}", layout[0] / "json_2.1.1")
    source = make_dataset("name", data(archives=[archive]), TYPES, tmp_path / "data" / "out")
    assert ids(tmp_path / "data" / "out") == [game.id for game in layout[1]]
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert source == {"kind": "archives", "files": [{"name": archive.name, "sha256": digest}]}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["out"]


def test_auto_takes_the_first_source_that_applies(
    layout: tuple[Path, list[Game]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment's folder, archives, the download, generation; archives that are not there do not apply, a folder
    that is not there, or has no games, is a mistake."""
    archive = tar(tmp_path / "games.tar.gz", layout[0] / "json_2.1.1")
    absent = tmp_path / "absent.zip"

    def kind(settings: Data) -> str:
        found: str = make_dataset("name", settings, TYPES, tmp_path / "out", [NOWHERE])["kind"]
        assert json.loads((tmp_path / "out" / "dataset.json").read_text())["source"]["kind"] == found
        return found

    assert kind(data(archives=[absent])) == "generate"
    assert kind(data(archives=[archive])) == "archives"
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "empty"))
    with pytest.raises(
        UserError, match=r"ALFWORLD_DATA is .*empty, which is not a folder with the splits.*has nothing"
    ):
        kind(data(archives=[archive]))
    monkeypatch.setenv("ALFWORLD_DATA", " ")
    assert kind(data(archives=[archive])) == "archives"
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(UserError, match=r"ALFWORLD_DATA is .*mistyped: no such folder"):
        kind(data(archives=[archive]))
    monkeypatch.setenv("ALFWORLD_DATA", str(layout[0]))
    assert kind(data(archives=[archive])) == "folder"
    with pytest.raises(UserError, match=r"absent\.zip"):
        monkeypatch.delenv("ALFWORLD_DATA")
        kind(data(archives=[archive, absent]))


def test_a_folder_one_level_off_is_an_error_that_names_the_right_one(
    layout: tuple[Path, list[Game]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a folder wants its games: neither the download nor generation takes their place."""
    right = layout[0] / "json_2.1.1"
    shutil.copytree(right, tmp_path / "disk" / "alfworld" / "json_2.1.1")
    low, high = tmp_path / "disk", tmp_path / "disk" / "alfworld" / "json_2.1.1"
    for named, wanted in ((right / "train", right), (right / layout[1][0].id, right), (low, high), (tmp_path, high)):
        monkeypatch.setenv("ALFWORLD_DATA", str(named))
        words = rf"(ALFWORLD_DATA|data\.folder) is {re.escape(str(named))}, .*; name {re.escape(str(wanted))} instead"
        for settings in (data(), data("folder"), data(folder=named)):
            with pytest.raises(UserError, match=words):
                make_dataset("name", settings, TYPES, tmp_path / "out", [NOWHERE])
    assert not (tmp_path / "out").exists()


def repacked(games: Path, path: Path, form: str) -> Path:
    """The games as people's archives have them."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in games.rglob("*") if file.is_file()):
            name = f"{ARCHIVES[form]}{file.relative_to(games).as_posix()}"
            entry = zipfile.ZipInfo("x")
            entry.filename = name.replace("/", "\\") if form == "windows" else name
            archive.writestr(entry, file.read_bytes())
            archive.writestr(f"__MACOSX/{Path(name).parent}/._{file.name}", b"AppleDouble")
        archive.writestr(f"{ARCHIVES[form]}.DS_Store", b"Mac")
    return path


ARCHIVES = {"renamed": "json_2.1.3/", "deeper": "alfworld/data/json_2.1.1/", "windows": "json_2.1.1/", "bare": ""}


@pytest.mark.parametrize("form", ARCHIVES)
def test_the_splits_of_an_archive_are_found_wherever_they_lie(
    layout: tuple[Path, list[Game]], tmp_path: Path, form: str
) -> None:
    """Under another folder's name, a level deeper, with the separators of Windows, without any folder; what a Mac adds
    does not matter."""
    archive = repacked(layout[0] / "json_2.1.1", tmp_path / "games.zip", form)
    make_dataset("name", data(archives=[archive]), TYPES, tmp_path / "data" / "out")
    assert ids(tmp_path / "data" / "out") == [game.id for game in layout[1]]


def test_archives_that_call_their_folders_differently_go_over_each_other(
    layout: tuple[Path, list[Game]], tmp_path: Path
) -> None:
    """One has traj_data.json below json_2.1.1, the other game.tw-pddl below json_2.1.2."""
    archives = []
    for name, pattern in (("json_2.1.1", "traj_data.json"), ("json_2.1.2", "game.tw-pddl")):
        archives.append(tmp_path / f"{name}.zip")
        with zipfile.ZipFile(archives[-1], "w") as archive:
            for file in sorted((layout[0] / "json_2.1.1").rglob(pattern)):
                archive.write(file, Path(name) / file.relative_to(layout[0] / "json_2.1.1"))
    make_dataset("name", data(archives=archives), TYPES, tmp_path / "data" / "out")
    assert ids(tmp_path / "data" / "out") == [game.id for game in layout[1]]


def test_an_archive_without_games_is_named_with_what_it_holds(layout: tuple[Path, list[Game]], tmp_path: Path) -> None:
    """And one with a damaged game by the game's place in it; never a temporary folder that is gone by then."""
    (tmp_path / "photos" / "summer").mkdir(parents=True)
    (tmp_path / "photos" / "summer" / "a.jpg").write_text("x")
    broken = tmp_path / "json_2.1.1"
    shutil.copytree(layout[0] / "json_2.1.1", broken)
    (broken / layout[1][0].id / "traj_data.json").write_text("")
    for archive, words in (
        (
            zipped(tmp_path / "photos.zip", tmp_path / "photos"),
            r"photos\.zip: has photos at its top; wanted is .*train",
        ),
        (zipped(tmp_path / "games.zip", broken), rf"games\.zip: {layout[1][0].id}/traj_data\.json: not valid JSON"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            make_dataset("name", data(archives=[archive]), TYPES, tmp_path / "data" / "out")
        assert ".partial" not in str(caught.value)


def without(layout: Path, target: Path, name: str, number: int) -> Path:
    """A copy of the games whose first `number` folders of each split lack the file `name`."""
    shutil.copytree(layout / "json_2.1.1", target)
    for split in target.iterdir():
        for path in sorted(split.rglob(name))[:number]:
            path.unlink()
    return target


@pytest.mark.parametrize("name", ["game.tw-pddl", "traj_data.json"])
def test_folders_that_lack_a_file_are_counted_and_named(
    layout: tuple[Path, list[Game]], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """In the log, in the index; a data set of whole games has no such entry, so that its bytes are what they were."""
    make_dataset("name", data(folder=without(layout[0], tmp_path / "mine", name, 1)), TYPES, tmp_path / "out")
    assert caplog.text.count(f"folders left out: no {name} (first: ") == 3
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index["left_out"] == {split: {f"no {name}": 1} for split in ("train", "valid_seen", "valid_unseen")}
    make_dataset("name", data(folder=layout[0]), TYPES, tmp_path / "out")
    assert "left_out" not in json.loads((tmp_path / "out" / "dataset.json").read_text())


def test_a_split_without_games_is_an_error_that_says_what_is_missing(
    layout: tuple[Path, list[Game]], tmp_path: Path
) -> None:
    """All of its game files, more of them than are there, or every game of a task type."""
    for number, words in ((2, "split valid_seen has no games of"), (3, "split train has 1 game of")):
        mine = without(layout[0], tmp_path / str(number), "game.tw-pddl", number)
        with pytest.raises(UserError, match=rf"{words}.*no game\.tw-pddl \(first: .*json_2\.1\.2_tw-pddl\.zip"):
            make_dataset("name", data(folder=mine), TYPES, tmp_path / "out")
    with pytest.raises(UserError, match="split train has no games of the task types pick_two_obj_and_place; complete"):
        make_dataset("name", data(folder=layout[0]), ["pick_two_obj_and_place"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_games_behind_links_are_games_and_copies_of_a_file_manager_are_none(
    layout: tuple[Path, list[Game]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A link to a folder is followed once, also where it leads in a circle; one that leads nowhere is named."""
    mine = tmp_path / "mine"
    shutil.copytree(layout[0] / "json_2.1.1", mine)
    task = next((mine / "train").iterdir())
    shutil.move(task, tmp_path / "elsewhere")
    task.symlink_to(tmp_path / "elsewhere")
    (task / "circle").symlink_to(mine / "train")
    (mine / "valid_seen" / "gone").symlink_to(tmp_path / "gone")
    trial = mine / layout[1][-1].id
    shutil.copytree(trial, trial.with_name(f"{trial.name} (copy)"))
    make_dataset("name", data(folder=mine), TYPES, tmp_path / "out")
    assert ids(tmp_path / "out") == [game.id for game in layout[1]]
    assert "a link that leads nowhere (first: valid_seen/gone)" in caplog.text
    assert "a copy that a file manager made (first: valid_unseen/" in caplog.text


def test_copied_games_are_told(
    layout: tuple[Path, list[Game]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:  # fmt: skip
    """ALFWorld plays them, but they count twice; a test game among those of train above all."""
    mine = tmp_path / "mine"
    shutil.copytree(layout[0] / "json_2.1.1", mine)
    make_dataset("name", data(folder=mine), TYPES, tmp_path / "out")
    assert "copies of another game" not in caplog.text
    test = layout[1][-1]
    shutil.copytree(mine / test.id, mine / f"{test.id}_backup")
    shutil.copytree(mine / test.id, mine / test.id.replace(test.split, "train"))
    make_dataset("name", data(folder=mine), TYPES, tmp_path / "out")
    assert "name: copies of another game, which are played as well: 2 (" in caplog.text
    assert f"{test.id} is {test.id.replace(test.split, 'train')}" in caplog.text


@pytest.mark.parametrize("key", ["pddl_problem", "grammar"])
def test_a_game_that_no_engine_could_play_is_an_error_when_the_data_are_made(
    layout: tuple[Path, list[Game]], tmp_path: Path, key: str
) -> None:
    """Not when it is drawn, hours later."""
    shutil.copytree(layout[0] / "json_2.1.1", tmp_path / "mine")
    path = tmp_path / "mine" / layout[1][-1].id / "game.tw-pddl"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: None}))
    with pytest.raises(UserError, match=rf"game\.tw-pddl: key `{key}` is missing or not a text"):
        make_dataset("name", data(folder=tmp_path / "mine"), TYPES, tmp_path / "out")


def test_an_archive_is_what_it_holds_whatever_it_is_called(layout: tuple[Path, list[Game]], tmp_path: Path) -> None:
    """A browser or a mirror renames files; what is damaged is so under any name."""
    games = layout[0] / "json_2.1.1"
    tar(tmp_path / "a.gz", games).rename(tmp_path / "a.zip")
    zipped(tmp_path / "b.zip", games).rename(tmp_path / "b.tar.gz")
    zipped(tmp_path / "C.ZIP", games)
    for name in ("a.zip", "b.tar.gz", "C.ZIP"):
        make_dataset("name", data(archives=[tmp_path / name]), TYPES, tmp_path / "out")
        assert ids(tmp_path / "out") == [game.id for game in layout[1]]
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:1000])
        with pytest.raises(UserError, match=rf"{name}: damaged or cut off"):
            make_dataset("name", data(archives=[tmp_path / name]), TYPES, tmp_path / "out")


def test_a_source_asked_for_by_name_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Without folder, archives or server each of them is an error that names its setting or address."""
    for settings, words in (
        (data("folder"), "ALFWORLD_DATA"),
        (data("folder", folder=tmp_path / "absent"), "absent"),
        (data("archives"), r"data\.archives"),
        (data("archives", archives=[tmp_path / "absent.zip"]), r"absent\.zip"),
        (data("download"), "127.0.0.1:9"),
    ):
        with pytest.raises(UserError, match=words):
            make_dataset("name", settings, TYPES, tmp_path / "out", [NOWHERE])
    assert files(tmp_path) == []


def test_a_failed_source_leaves_the_old_data_set_alone(layout: tuple[Path, list[Game]], tmp_path: Path) -> None:
    """A data set is replaced whole or not at all."""
    make_dataset("name", data(folder=layout[0]), TYPES, tmp_path / "out")
    before = files(tmp_path)
    with pytest.raises(UserError):
        make_dataset("name", data("archives", archives=[tmp_path / "absent.zip"]), TYPES, tmp_path / "out")
    assert files(tmp_path) == before


@pytest.mark.parametrize("ending", ["tar.xz", "tar.gz", "zip"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_off_archive_is_an_error_and_leaves_nothing(
    layout: tuple[Path, list[Game]], tmp_path: Path, ending: str, share: float
) -> None:
    """Whether the end of the content or only the end of the archive is missing."""
    archive = (zipped if ending == "zip" else tar)(tmp_path / f"games.{ending}", layout[0] / "json_2.1.1")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"games\..*damaged or cut off"):
        make_dataset("name", data(archives=[archive]), TYPES, tmp_path / "data" / "out")
    assert files(tmp_path / "data") == []
    assert list((tmp_path / "data").iterdir()) == []


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 4 if kind == tarfile.REGTYPE else 0
    return info


EVIL = (
    member("../escaped"),
    member("/tmp/escaped"),
    member("json_2.1.1/../../escaped"),
    member("..\\escaped"),
    member("link", tarfile.SYMTYPE, "/etc"),
    member("link", tarfile.SYMTYPE, "../.."),
    member("device", tarfile.CHRTYPE),
    member("pipe", tarfile.FIFOTYPE),
    member("link", tarfile.LNKTYPE, "../escaped"),  # zip has no such thing
)


@pytest.mark.parametrize(
    ("evil", "ending"),
    [(info, "tar.gz") for info in EVIL] + [(info, "zip") for info in EVIL[:-1]],
    ids=lambda value: getattr(value, "name", value),
)
def test_members_that_leave_the_folder_condemn_the_archive(tmp_path: Path, evil: tarfile.TarInfo, ending: str) -> None:
    """Parent folders, absolute paths, links, devices: refused with the member's name, and nothing is left behind."""
    archive, target = tmp_path / "in" / f"evil.{ending}", tmp_path / "deep" / "out"
    archive.parent.mkdir()
    if ending == "zip":
        entry = zipfile.ZipInfo(evil.name)
        modes = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.CHRTYPE: stat.S_IFCHR, tarfile.FIFOTYPE: stat.S_IFIFO}
        entry.external_attr = modes.get(evil.type, stat.S_IFREG) << 16
        with zipfile.ZipFile(archive, "w") as package:
            package.writestr(entry, evil.linkname or "evil")
    else:
        with tarfile.open(archive, "w:gz") as package:
            package.addfile(evil, io.BytesIO(b"evil") if evil.isfile() else None)
    with pytest.raises(UserError, match="refused"), building(target) as folder:
        extract(archive, folder)
    assert files(tmp_path) == [f"in/evil.{ending}"]
    assert not Path("/tmp/escaped").exists()


def test_an_unknown_kind_of_archive_is_an_error(tmp_path: Path) -> None:
    """The endings that work are listed."""
    (tmp_path / "games.rar").write_bytes(b"Rar!")
    with pytest.raises(UserError, match=r"\.tar\.xz"):
        extract(tmp_path / "games.rar", tmp_path)


class Server(ThreadingHTTPServer):
    """Serves `content` with byte ranges; closes the connection after `limit` bytes of each answer."""

    content = b""
    limit: int | None = None
    redirect: str | None = None
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        asked = self.headers["Range"]
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.limit])

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.ranges = []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def address(server: Server, name: str = "games.zip") -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    """1000 bytes, 400 per connection: asked for from 0, 400 and 800, and whole at the end."""
    server.content, server.limit = bytes(range(250)) * 4, 400
    found = fetch(Download(address(server), hashlib.sha256(server.content).hexdigest()), tmp_path)
    assert found.read_bytes() == server.content
    assert server.ranges == [None, "bytes=400-", "bytes=800-"]


def test_what_arrived_before_giving_up_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    """Three connections of 100 bytes are not enough for 1000; the next call starts at byte 300, or at none if whole."""
    server.content, server.limit = bytes(range(250)) * 4, 100
    with pytest.raises(UserError, match="go on where it stopped"):
        fetch(Download(address(server)), tmp_path)
    assert files(tmp_path) == ["games.zip.part"]
    server.limit = None
    assert fetch(Download(address(server)), tmp_path).read_bytes() == server.content
    assert server.ranges[3:] == ["bytes=300-"]
    (tmp_path / "games.zip").rename(tmp_path / "games.zip.part")
    assert fetch(Download(address(server)), tmp_path).read_bytes() == server.content


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    """It must be of another file."""
    server.content = b"new content"
    (tmp_path / "games.zip.part").write_bytes(b"x" * 100)
    assert fetch(Download(address(server)), tmp_path).read_bytes() == b"new content"


def test_a_wrong_checksum_is_an_error_and_the_file_is_removed(server: Server, tmp_path: Path) -> None:
    """So that the next attempt does not find it."""
    server.content = b"something else"
    with pytest.raises(UserError, match="checksum"):
        fetch(Download(address(server), "0" * 64), tmp_path)
    assert files(tmp_path) == []


@pytest.mark.parametrize("url", ["http://example.invalid/games.zip", "ftp://127.0.0.1/games.zip", "file:///a.zip"])
def test_only_https_is_downloaded_from(server: Server, tmp_path: Path, url: str) -> None:
    """Directly and after a redirect; plain http from this very machine is the exception."""
    server.redirect = url
    for first in (url, address(server)):
        with pytest.raises(UserError, match=r"only https|not allowed"):
            fetch(Download(first), tmp_path)


def test_a_server_without_the_file_counts_as_unavailable(tmp_path: Path) -> None:
    """As does one that does not answer: `auto` goes on to the next source."""
    with pytest.raises(Unavailable, match="cannot be reached"):
        fetch(NOWHERE, tmp_path)


def test_the_official_download_is_two_archives_over_each_other(
    layout: tuple[Path, list[Game]], server: Server, tmp_path: Path
) -> None:
    """One brings traj_data.json, the other game.tw-pddl; the index keeps addresses and received checksums."""
    source = tmp_path / "halves"
    for name, pattern in (("a.zip", "traj_data.json"), ("b.zip", "game.tw-pddl")):
        source.mkdir(exist_ok=True)
        with zipfile.ZipFile(source / name, "w") as archive:
            for file in sorted((layout[0] / "json_2.1.1").rglob(pattern)):
                archive.write(file, file.relative_to(layout[0]))
    contents = {f"/{path.name}": path.read_bytes() for path in source.iterdir()}

    class TwoFiles(Handler):
        def do_GET(self) -> None:
            self.server.content = contents[self.path]
            super().do_GET()

    server.RequestHandlerClass = TwoFiles
    pinned = hashlib.sha256(contents["/a.zip"]).hexdigest()
    downloads = [Download(address(server, "a.zip"), pinned), Download(address(server, "b.zip"))]
    found = make_dataset("name", data("download"), TYPES, tmp_path / "data" / "out", downloads)
    assert ids(tmp_path / "data" / "out") == [game.id for game in layout[1]]
    assert [(file["name"], file["verified"]) for file in found["files"]] == [("a.zip", True), ("b.zip", False)]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["out"]


def test_the_stage_makes_what_a_benchmark_file_asks_for(tmp_path: Path) -> None:
    """The file is the project's own, with another data set's name, task types and sizes."""
    settings = yaml.safe_load((ROOT / "configs" / "benchmark" / "alfworld_test.yaml").read_text())
    settings |= {"dataset": "mine", "task_types": list(TYPES), "data": data("generate").model_dump()}
    (tmp_path / "mine.yaml").write_text(json.dumps(settings))  # JSON is YAML
    make(tmp_path / "mine.yaml", tmp_path / "data" / "mine")
    assert len(ids(tmp_path / "data" / "mine")) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not valid YAML"),
        ("- 1", "mapping of settings"),
        ("dataset: a", r"name: missing"),
        ("name: chess", r"name = .chess.: must be one of alfworld, babyai, webshop"),
        ("name: alfworld", r"data: missing"),
        ("name: alfworld\ndataset: a\ntask_types: [walk]\ndata: {}", r"task_types\.0"),
    ],
)
def test_a_bad_benchmark_file_is_an_error_that_names_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    """Before any game is made."""
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"bad\.yaml: [\s\S]*{words}"):
        make(tmp_path / "bad.yaml", tmp_path / "out")
    assert not (tmp_path / "out").exists()
