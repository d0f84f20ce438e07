"""`~` and `$VARIABLE` in paths, everywhere alike; and a mark before text from outside."""

from __future__ import annotations

import argparse
import codecs
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline import ROOT

from dev.parity.recordings import places
from hiper.benchmarks.alfworld import sources as alfworld
from hiper.benchmarks.places import named_folder
from hiper.benchmarks.webshop import sources as webshop
from hiper.cli.command import path as option
from hiper.compose import load_benchmark
from hiper.errors import UserError
from hiper.learning import pretrained
from hiper.paths import expanded
from hiper.policies.tokenizer_files import open_tokenizer
from hiper.records import read_json, read_jsonl
from hiper.views.datasets import data_finding
from hiper.yaml_files import read_yaml


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a folder that looks like a model, like ALFWorld's and WebShop's at once."""
    folder = tmp_path / "home" / "things"
    for split in alfworld.SPLITS:
        (folder / split / "task" / "trial").mkdir(parents=True)
        for name in ("game.tw-pddl", "traj_data.json"):
            (folder / split / "task" / "trial" / name).write_text("{}")
    model = ("config.json", "tokenizer.json", "model.safetensors")
    for name in (*model, webshop.ITEMS["small"], webshop.INSTRUCTIONS["small"]):
        (folder / name).write_text("{}")
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("THINGS", "things")
    return folder


def data_of(benchmark: str, folder: str):  # type: ignore[no-untyped-def]
    data = load_benchmark(ROOT / f"configs/benchmark/{benchmark}.yaml").data
    return data.model_copy(update={"folder": folder, "source": "folder"})


def by_variable(text: str) -> Path | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALFWORLD_DATA", text)
        return named_folder("ALFWORLD_DATA")


def of_a_recording(text: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALFWORLD_DATA", text)
        return places(None, "ALFWORLD_DATA", "alfworld")[0]


WAYS: dict[str, Callable[[str], Path | None]] = {
    "model.path": pretrained.find,
    "alfworld": lambda text: alfworld.games_folder(data_of("alfworld", text)),
    "webshop": lambda text: webshop.files_in_folder(data_of("webshop", text)).items.parent,
    "variable": by_variable,
    "recording": of_a_recording,
    "option": option,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["~/things", "$HOME/things", "${HOME}/things", "~/$THINGS", "~/${THINGS}/"])
def test_a_path_is_read_alike_wherever_it_stands(home: Path, way: str, text: str) -> None:
    """Settings, variables of the environment, options."""
    assert WAYS[way](text) == home


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", ["$NOWHERE/things", "~no_such_user_of_this_machine/x"])
def test_what_stands_for_nothing_is_named(home: Path, way: str, text: str) -> None:
    """The variable or the user, and where it stands, before anything is looked for."""
    with pytest.raises((UserError, argparse.ArgumentTypeError), match=r"is (\$NOWHERE|~no_such)") as caught:
        WAYS[way](text)
    assert "NOWHERE is not set" in str(caught.value) or "no user 'no_such_user_of_this_machine'" in str(caught.value)


def test_archives_are_looked_for_where_their_names_say(home: Path) -> None:
    """All of them there is a source, none is not."""
    (home / "games.zip").write_bytes(b"")
    data = data_of("alfworld", "x").model_copy(update={"archives": ["$HOME/things/games.zip"]})
    assert alfworld._archives_apply(data)
    assert not alfworld._archives_apply(data.model_copy(update={"archives": ["~/games.zip"]}))


def test_doctor_looks_where_a_folder_is_named(home: Path, tmp_path: Path) -> None:
    """Found or not; a variable that is not set is what is missing."""
    benchmark = load_benchmark(ROOT / "configs/benchmark/alfworld.yaml")
    found = [
        data_finding(benchmark.model_copy(update={"data": data_of("alfworld", text)}), tmp_path, "missing")
        for text in ("$HOME/things", "~/others", "$NOWHERE/x")
    ]
    assert [one.state for one in found] == ["optional", "missing", "missing"]
    assert str(home) in found[0].detail and "$NOWHERE is not set" in found[2].detail


@given(st.text(st.characters(exclude_characters="~$\0", exclude_categories=["Cs"])))
def test_a_path_without_them_stays_what_it_is(text: str) -> None:
    """Nothing else in it means anything."""
    assert expanded(text, "a path") == Path(text)


@pytest.mark.parametrize("name", ["~/nothing/here", "/nowhere/model", "./model", "$HOME/x", "a/b/c"])
def test_a_path_is_not_to_be_downloaded(home: Path, name: str) -> None:
    """What looks like one is answered with the folder that was looked for."""
    with pytest.raises(UserError, match="there is no folder") as caught:
        pretrained.find(name)
    assert str(expanded(name, "")) in str(caught.value) and "--download" not in str(caught.value)


def test_a_folder_with_adapters_alone_is_told_from_a_model(home: Path) -> None:
    """They must be merged; a folder that lacks a file is told which, and to download it would not help."""
    (home / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"things lacks tokenizer\.json; put what is missing there") as caught:
        pretrained.find("~/things")
    assert "--download" not in str(caught.value)
    (home / "model.safetensors").unlink()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (home / name).write_text("{}")
    with pytest.raises(UserError, match="these are PEFT adapters: merge them"):
        pretrained.find("~/things")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """In YAML, JSON and lines of JSON."""
    path = tmp_path / "file"
    path.write_bytes(codecs.BOM_UTF8 + b'{"a": 1}\n')
    assert read_json(path) == read_yaml(path) == {"a": 1}
    assert read_jsonl(path) == [{"a": 1}]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_mark_that_transformers_would_take_for_text_is_refused_in_words(tmp_path: Path, name: str) -> None:
    """With the file's name and how to save it."""
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {}}))
    (tmp_path / name).write_bytes(codecs.BOM_UTF8 + b"{}")
    with pytest.raises(UserError, match=rf"{name}: begins with a byte order mark; save it in plain UTF-8"):
        open_tokenizer(tmp_path)
