"""A pretrained model is found by folder and by name, whole or not at all, and fetched when a person asks for it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from pipeline import run_settings
from safetensors.torch import load_file

from hiper.cli.main import main
from hiper.errors import UserError
from hiper.learning import pretrained
from hiper.learning.folders import save_tensors
from hiper.records import read_json

ROOT = Path(__file__).resolve().parents[2]
NAME, COMMIT = "Example/Tiny-Instruct", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, the only one that the library knows of."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 folder of our own: configuration, tokenizer, weights."""
    from dev.bench.models import learn_tokenizer
    from hiper.learning.decoder import Decoder, DecoderShape
    from hiper.learning.folders import save_decoder
    from hiper.policies.base import Request

    made, folder = tmp_path_factory.mktemp("tokenizer"), tmp_path_factory.mktemp("model")
    requests = [Request(f"You see a cup {i}. What now?", (f"take cup {i}", "look"), None) for i in range(40)]
    tokenizer = learn_tokenizer(run_settings(), requests, made)
    decoder = Decoder(DecoderShape(len(tokenizer), 32, 64, 1, 4, 2, True, 4096, 1e4, 1e-6))
    decoder.initialize(torch.Generator().manual_seed(0))
    save_decoder(decoder, folder, made, int(tokenizer.eos_token_id), int(tokenizer.pad_token_id))
    return folder


def put(cache: Path, model: Path) -> Path:
    """The model in the layout of the cache: content under its hash, a snapshot of links to it, a branch naming it."""
    repository = cache / "models--Example--Tiny-Instruct"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for path in model.iterdir():
        name = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, repository / "blobs" / name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / name)
    return snapshot


def test_a_folder_and_a_name_in_the_cache_are_found(cache: Path, model: Path) -> None:
    """Both as the folder that can be read."""
    assert pretrained.find(str(model)) == model
    assert (
        pretrained.find(NAME if put(cache, model) else "")
        == cache / f"models--Example--Tiny-Instruct/snapshots/{COMMIT}"
    )


def test_what_is_missing_is_named_with_the_command_that_gets_it(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that the cache has not, one that is nearly a configuration's, a download cut short, a shard that the index
    lists."""
    monkeypatch.chdir(ROOT)
    assert main(["model", "qwen2.5_05b_instruct"]) == 2
    assert "did you mean 'qwen2.5_0.5b_instruct'?" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"Tiny-Instruct.*neither a folder.*HF_HOME.*`hiper model .* --download`"):
        pretrained.find(NAME)
    snapshot = put(cache, model)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks model\.safetensors; fetch it once"):
        pretrained.find(NAME)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (snapshot / pretrained.INDEX).write_text(json.dumps(index))
    (snapshot / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert pretrained.gaps(snapshot) == ["model-00002-of-00002.safetensors"]
    (snapshot / pretrained.INDEX).write_text("{")
    assert pretrained.gaps(snapshot) == [f"a readable {pretrained.INDEX}"]


@pytest.mark.parametrize("name", ["", "../secret", "a/b/c", "no such folder/x", "/nowhere/model"])
def test_a_name_that_cannot_be_one_is_no_accident(cache: Path, name: str) -> None:
    """Paths that are not there and malformed names are a person's mistake, with a message."""
    with pytest.raises(UserError, match=r"neither a folder|there is no folder"):
        pretrained.find(name)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_warm_start_takes_a_model_by_name(cache: Path, model: Path, tmp_path: Path, dtype: str) -> None:
    """With method none the run's model folder has the same weights as the one in the cache, in their precision; it is
    copied where no GPU is, whatever trains later."""
    from hiper.stages import warmstart

    model = Path(shutil.copytree(model, tmp_path / dtype))
    weights = load_file(model / "model.safetensors")
    kept = {name: value.to(getattr(torch, dtype)) for name, value in weights.items()}
    save_tensors(kept, model / "model.safetensors")
    put(cache, model)
    named = {"model__path": NAME, "model__scratch": None, "warm_start__method": "none", "prompt__style": "full"}
    settings = run_settings(**named, engine__device="cuda", engine__dtype="bfloat16")
    warmstart.run(settings, None, None, tmp_path / "run", tmp_path)
    written = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert written == (model / "model.safetensors").read_bytes()
    assert read_json(tmp_path / "run" / "model" / "config.json")["dtype"] == dtype


class Hub(SimpleHTTPRequestHandler):
    """The two answers that a download needs, for one model in a folder; what was asked for is remembered."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, body: bool) -> None:
        self.asked.append(self.path)
        folder = Path(self.directory)
        if self.path.startswith("/api/models/"):
            files = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
            content = json.dumps({"id": NAME, "sha": COMMIT, "siblings": files}).encode()
            listing = [
                {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": p.name} for p in folder.iterdir()
            ]
            content = json.dumps(listing).encode() if "/tree/" in self.path else content
        elif (path := folder / Path(self.path).name).is_file():
            content = path.read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(model: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A hub on this machine that also offers a pickle and a program; the environment of who knows no other."""
    offered = tmp_path / "offered"
    shutil.copytree(model, offered)
    (offered / "pytorch_model.bin").write_bytes(b"a pickle")
    (offered / "modeling_tiny.py").write_text("raise SystemExit('run')")
    Hub.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(offered)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, home = f"http://127.0.0.1:{server.server_port}", str(tmp_path / "home")
    late = {"HF_HUB_ETAG_TIMEOUT": "600", "HF_HUB_DOWNLOAD_TIMEOUT": "600"}  # as a busy machine answers
    yield os.environ | late | {"HF_ENDPOINT": address, "HF_HOME": home, "HF_HUB_OFFLINE": "0", "no_proxy": "127.0.0.1"}
    server.shutdown()
    server.server_close()


def test_a_download_brings_neither_code_nor_pickles(hub: dict[str, str], model: Path) -> None:
    """As a person types it: looking asks nobody, fetching brings what the decoder reads."""

    def call(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hiper", "model", NAME, *options]
        return subprocess.run(command, cwd=ROOT, env=hub, capture_output=True, text=True)

    looked = call()
    assert looked.returncode == 2 and "--download" in looked.stderr and Hub.asked == []
    fetched = call("--download")
    assert fetched.returncode == 0, fetched.stderr
    folder = Path(fetched.stdout.rpartition(" (")[0])
    assert folder.is_relative_to(hub["HF_HOME"]) and Hub.asked
    assert (folder / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert {path.suffix for path in folder.iterdir()} <= {".json", ".safetensors", ".jinja", ".txt"}


def test_a_download_that_fails_says_why(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Offline, nothing is tried; a name that cannot be one is refused."""
    assert main(["model", NAME, "--download"]) == 2
    assert "cannot be downloaded" in capsys.readouterr().err
    assert main(["model", "not a name", "--download"]) == 2
    assert "no name of a model" in capsys.readouterr().err


def test_the_command_knows_the_names_of_the_configuration(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of configs/model stands for its path; one made from scratch has nothing to fetch."""
    monkeypatch.chdir(ROOT)
    assert main(["model", "qwen2.5_0.5b_instruct"]) == 2
    assert "Qwen/Qwen2.5-0.5B-Instruct" in capsys.readouterr().err
    assert main(["model", "tiny"]) == 2
    assert "from scratch" in capsys.readouterr().err
