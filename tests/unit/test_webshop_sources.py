"""Where WebShop's products come from: a folder, the download, the generated catalogue."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from webshop_sets import files, settings, write_raw

from hiper.benchmarks.archives import Download, Unavailable
from hiper.benchmarks.webshop.settings import WebshopSettings
from hiper.benchmarks.webshop.sources import FOLDER_VARIABLE, OFFICIAL, make_dataset
from hiper.errors import UserError

NOWHERE = {name: Download("http://127.0.0.1:9/download?id=1", file_name=name) for name in OFFICIAL}  # nobody listens


@pytest.fixture(autouse=True)
def no_folder_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)


class Server(ThreadingHTTPServer):
    """Serves `contents` by the number in `?id=`, as Google Drive does; notes what was asked for."""

    contents: dict[str, bytes]
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.partition("id=")[2]
        self.server.asked.append(name)
        content = self.server.contents.get(name)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked, running.contents = [], {}
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def addresses(server: Server, **pins: str) -> dict[str, Download]:
    base = f"http://127.0.0.1:{server.server_port}/download?id="
    return {name: Download(base + name, pins.get(name.partition(".")[0]), name) for name in OFFICIAL}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_is_read_and_left_as_it_was(tmp_path: Path, packed: bool, below: str) -> None:
    """Its files are recorded with name and checksum, without the folder's own place; packed ones give equal goals."""
    raw = write_raw(tmp_path / "mine" / below, packed=packed)
    before = files(raw)
    source = make_dataset(settings("folder", folder=tmp_path / "mine"), tmp_path / "out")
    assert files(raw) == before
    names = [f"items_{name}_1000.json{'.gz' if packed else ''}" for name in ("shuffle", "ins_v2")]
    hashed = [{"name": name, "sha256": hashlib.sha256(before[name]).hexdigest()} for name in names]
    assert source == {"kind": "folder", "products": "small", "files": hashed}
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index["source"] == source
    assert str(tmp_path) not in json.dumps(index)
    make_dataset(settings(), tmp_path / "generated")
    assert (tmp_path / "out" / "goals.jsonl").read_bytes() == (tmp_path / "generated" / "goals.jsonl").read_bytes()


def test_small_and_full_files_are_not_mixed_up(tmp_path: Path) -> None:
    """A folder with the full set only does not serve a run that asks for the small one, and the other way round."""
    write_raw(tmp_path / "mine", full=True)
    assert make_dataset(settings("folder", folder=tmp_path / "mine", products="full"), tmp_path / "out")["files"]
    with pytest.raises(UserError, match=r"mine: no items_shuffle_1000\.json .*data\.products"):
        make_dataset(settings("folder", folder=tmp_path / "mine"), tmp_path / "out")


def test_human_goals_come_from_the_human_file(tmp_path: Path) -> None:
    """Which is recorded too; nothing can be generated in its place."""
    write_raw(tmp_path / "mine")
    source = make_dataset(settings("folder", folder=tmp_path / "mine", kind="human"), tmp_path / "out")
    assert [file["name"] for file in source["files"]][2:] == ["items_human_ins.json"]
    goals = [json.loads(line) for line in (tmp_path / "out" / "goals.jsonl").read_text().splitlines()]
    assert len(goals) == 40
    assert all(goal["instruction_text"].startswith("could you get me") for goal in goals)
    for asked in (settings("generate", kind="human"), settings("auto", kind="human")):
        with pytest.raises(UserError, match="human instructions cannot be generated"):
            make_dataset(asked, tmp_path / "other", NOWHERE)
    assert not (tmp_path / "other").exists()


def test_auto_takes_the_first_source_that_applies(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The environment's folder, the download, generation with a warning; a folder without the files, or none, is a
    mistake."""
    server.contents = files(write_raw(tmp_path / "served"))

    def kind(asked: WebshopSettings, downloads: dict[str, Download]) -> Any:
        return make_dataset(asked, tmp_path / "out", downloads)["kind"]

    with caplog.at_level(logging.WARNING):
        assert kind(settings("auto"), NOWHERE) == "generate"
    assert "cannot be reached" in caplog.text
    assert "GENERATED" in caplog.text
    assert kind(settings("auto"), addresses(server)) == "download"
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    right = re.escape(str(tmp_path / "served"))
    with pytest.raises(UserError, match=rf"WEBSHOP_DATA is .*: no items_shuffle_1000\.json .*; name {right} instead"):
        kind(settings("auto"), addresses(server))
    (tmp_path / "served" / "below").mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "served" / "below"))
    with pytest.raises(UserError, match=f"; name {right} instead"):
        kind(settings("auto"), addresses(server))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "mistyped"))
    with pytest.raises(UserError, match=r"WEBSHOP_DATA is .*mistyped: no such folder"):
        kind(settings("auto"), addresses(server))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "served"))
    assert kind(settings("auto"), addresses(server)) == "folder"
    with pytest.raises(UserError, match="absent: no such folder"):
        kind(settings("auto", folder=tmp_path / "absent"), addresses(server))


def test_a_source_asked_for_by_name_is_not_replaced_by_another(tmp_path: Path) -> None:
    """Without folder or server each of them is an error that names its setting or address, and nothing is made."""
    for asked, words in (
        (settings("folder"), "WEBSHOP_DATA"),
        (settings("folder", folder=tmp_path / "absent"), "absent"),
        (settings("download"), "127.0.0.1:9"),
    ):
        with pytest.raises(UserError, match=words):
            make_dataset(asked, tmp_path / "out", NOWHERE)
    assert files(tmp_path) == {}


def test_a_download_is_recorded_and_its_files_are_removed_afterwards(tmp_path: Path, server: Server) -> None:
    """Only what is needed is fetched; addresses and checksums stay in the data set, pinned ones count as verified."""
    server.contents = files(write_raw(tmp_path / "served"))
    items = server.contents["items_shuffle_1000.json"]
    pinned = addresses(server, items_shuffle_1000=hashlib.sha256(items).hexdigest())
    source = make_dataset(settings("download"), tmp_path / "data" / "out", pinned)
    assert server.asked == ["items_shuffle_1000.json", "items_ins_v2_1000.json"]
    assert [(file["name"], file["verified"]) for file in source["files"]] == [
        (server.asked[0], True),
        (server.asked[1], False),
    ]
    assert source["files"][0]["url"].endswith("id=items_shuffle_1000.json")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["out"]


def test_a_wrong_checksum_is_an_error(tmp_path: Path, server: Server) -> None:
    """Even under `auto`: a file that was tampered with is no reason to generate another one in silence."""
    server.contents = files(write_raw(tmp_path / "served"))
    with pytest.raises(UserError, match="checksum"):
        make_dataset(settings("auto"), tmp_path / "out", addresses(server, items_shuffle_1000="0" * 64))
    assert not (tmp_path / "out").exists()


def test_a_page_in_place_of_the_file_counts_as_unavailable(tmp_path: Path, server: Server) -> None:
    """Google Drive answers so when too many people ask; the page is not kept, and `auto` goes on to generate."""
    server.contents = dict.fromkeys(OFFICIAL, b"\n<!DOCTYPE html><html>Quota exceeded</html>")
    with pytest.raises(Unavailable, match=r"page instead of items_shuffle_1000\.json.*data\.folder"):
        make_dataset(settings("download"), tmp_path / "data" / "out", addresses(server))
    assert files(tmp_path / "data") == {}
    assert make_dataset(settings("auto"), tmp_path / "data" / "out", addresses(server))["kind"] == "generate"


def test_a_damaged_file_leaves_the_old_data_set_alone(tmp_path: Path) -> None:
    """The message names the file; what was made before stays, byte for byte."""
    make_dataset(settings(), tmp_path / "data" / "out")
    before = files(tmp_path / "data")
    items = write_raw(tmp_path / "mine") / "items_shuffle_1000.json"
    items.write_bytes(items.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"items_shuffle_1000\.json: product \d+"):
        make_dataset(settings("folder", folder=tmp_path / "mine"), tmp_path / "data" / "out")
    assert files(tmp_path / "data") == before


def test_instructions_without_a_product_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A product file that was cut, for example, and closed again."""
    path = write_raw(tmp_path / "mine") / "items_shuffle_1000.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:-3]))
    make_dataset(settings("folder", folder=tmp_path / "mine"), tmp_path / "out")
    assert "3 entries are of products that items_shuffle_1000.json does not have" in caplog.text
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index["left_out"] == {"no product for an entry of the instruction file": 3}


def test_entries_that_are_left_out_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Repeats and broken asins, as the original leaves them out, and products that no goal can be made of; a file of
    whole entries leaves no trace in the index. More of them than products are an error, as is a file of another set."""
    raw = write_raw(tmp_path / "mine")
    path, told = raw / "items_shuffle_1000.json", raw / "items_ins_v2_1000.json"
    items, entries = json.loads(path.read_text()), json.loads(told.read_text())
    make_dataset(settings("folder", folder=raw), tmp_path / "out")
    assert "left_out" not in json.loads((tmp_path / "out" / "dataset.json").read_text())
    entries.pop(items[-1]["asin"])
    told.write_text(json.dumps(entries))
    path.write_text(json.dumps([*items, items[0], items[1], {"asin": "nan"}]))
    make_dataset(settings("folder", folder=raw), tmp_path / "out")
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert list(index["left_out"].values()) == [1, 2, 1] and index["counts"]["products"] == 60
    for words in (
        "1 of 63 entries: asin nan or",
        "2 of 63 entries: asin of an earlier",
        "1 of 63 entries: no entry in",
    ):
        assert words in caplog.text
    for some, known, words in (
        (
            [*items, *([{"asin": "nan"}] * 61)],
            entries,
            r"items_shuffle_1000\.json: more of its entries are left out than",
        ),
        (items, {"another": entries[items[0]["asin"]]}, r"items_ins_v2_1000\.json: has none of the products of"),
    ):
        path.write_text(json.dumps(some))
        told.write_text(json.dumps(known))
        with pytest.raises(UserError, match=words):
            make_dataset(settings("folder", folder=raw), tmp_path / "out")


def test_human_instructions_of_other_products_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And those without an attribute; with none about a product that there is, the file is of another set."""
    raw = write_raw(tmp_path / "mine")
    human = json.loads((raw / "items_human_ins.json").read_text())
    first, *others = human.values()
    human |= {"OTHER": first}
    others[0][0]["instruction_attributes"] = []
    with caplog.at_level("INFO"):
        (raw / "items_human_ins.json").write_text(json.dumps(human))
        make_dataset(settings("folder", folder=raw, kind="human"), tmp_path / "out")
    assert "1 of 41 asins are of other products, 1 instructions name no attribute: they make no goal" in caplog.text
    (raw / "items_human_ins.json").write_text(json.dumps({"OTHER": first}))
    with pytest.raises(UserError, match=r"items_human_ins\.json: tells of none of the products"):
        make_dataset(settings("folder", folder=raw, kind="human"), tmp_path / "out")


def test_official_addresses_are_of_the_files_they_are_filed_under() -> None:
    """Names that setup.sh's files have, https, and no two of the same address."""
    assert all(download.name == name for name, download in OFFICIAL.items())
    assert all(download.url.startswith("https://") for download in OFFICIAL.values())
    assert len({download.url for download in OFFICIAL.values()}) == len(OFFICIAL) == 5
