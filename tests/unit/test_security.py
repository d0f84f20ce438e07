"""What must never happen: code run out of a data or model file, files written elsewhere, a port open to the network, a
secret in a file or a message.

Archives are also in test_sources.py (links, devices, parent folders, absolute names) and test_damaged_games.py (bombs).
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pipeline import FEW_GAMES, RESULTS, ROOT, RUN_FOLDER, STAGES, WARM_FOLDER, make_games, run_settings
from waiting import wait_for

from hiper.benchmarks.archives import building, extract
from hiper.compose import read_config, write_config
from hiper.errors import UserError
from hiper.learning.folders import load_decoder
from hiper.locks import exclusive, owner
from hiper.manifest import command
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, without_credentials, write_json
from hiper.stages import checkpoint
from hiper.tracking.server import HOST
from hiper.yaml_files import _Strict

SOURCES = sorted(path for room in ("hiper", "dev") for path in (ROOT / room).rglob("*.py"))


class Marks:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """A file that exists after the test only if code of an attacker ran."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists(), "code out of a file was run"


@pytest.fixture
def model(small_pipeline: Path, tmp_path: Path) -> Path:
    """A model folder, made by the stages, that a test may change."""
    shutil.copytree(small_pipeline / "warmstart" / "model", tmp_path / "model")
    return tmp_path / "model"


def test_the_marker_shows_what_it_should(tmp_path: Path) -> None:
    """The payload of these tests does run where nobody guards against it."""
    pickle.loads(pickle.dumps(Marks(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("form", ["torch", "legacy torch", "plain"])
def test_a_pickle_in_place_of_a_checkpoint_is_not_run(tmp_path: Path, marker: Path, form: str) -> None:
    """Its checksum matches, so that only the way of reading stands between the file and its code."""
    path = tmp_path / "checkpoints" / "00000001.pt"
    checkpoint.save(path.parent, 1, {"actor": torch.zeros(1)})
    if form == "plain":
        path.write_bytes(pickle.dumps({"actor": Marks(marker)}))
    else:
        torch.save({"actor": Marks(marker)}, path, _use_new_zipfile_serialization=form == "torch")
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest() + "\n")
    with pytest.raises((UserError, pickle.UnpicklingError)):
        checkpoint.load_latest(path.parent)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model-00001-of-00002.bin"])
def test_a_model_of_pickles_is_refused(model: Path, marker: Path, name: str) -> None:
    """The message says which format to fetch."""
    (model / "model.safetensors").unlink()
    torch.save({"model.norm.weight": Marks(marker)}, model / name)
    with pytest.raises(UserError, match=r"pickles .* safetensors"):
        load_decoder(model)


def test_a_pickle_called_safetensors_is_refused(model: Path, marker: Path) -> None:
    """The name does not decide how a file is read."""
    (model / "model.safetensors").write_bytes(pickle.dumps(Marks(marker)))
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read as safetensors"):
        load_decoder(model)


def test_code_beside_a_model_is_not_run(model: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto_map` names classes in Python files of the folder: a tokenizer loads as if they were not there, a model is
    refused, because its own code may compute something else."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Evil: ...\n"
    for name in ("modeling_evil.py", "tokenization_evil.py", "__init__.py", "sitecustomize.py"):
        (model / name).write_text(code)
    for name, kinds in (
        ("config.json", {"AutoConfig": "modeling_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"]}),
    ):
        write_json(model / name, {**read_json(model / name), "auto_map": kinds, "trust_remote_code": True})
    monkeypatch.chdir(model)
    with pytest.raises(UserError, match=r"config\.json: .*\n  auto_map is"):
        load_decoder(model)
    assert load_tokenizer(model).eos_token_id is not None and not marker.exists()


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__class__.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('touch MARKER').read() }}",
        "{{ lipsum.__globals__['os'].system('touch MARKER') }}",
        "{{ self.__init__.__globals__.__builtins__.open('MARKER', 'w') }}",
        "{{ raise_exception.__globals__['__builtins__'].open('MARKER', 'w') }}",
        "{{ ''|attr('__class__')|attr('__mro__') }}{{ (''|attr('__class__')).__base__ }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{% set x = messages.append({'role': 'x'}) %}",
        "{% include 'MARKER' %}",
    ],
)
def test_a_chat_template_stays_in_its_sandbox(model: Path, marker: Path, attack: str) -> None:
    """Reaching for Python's internals, files or commands ends with an error that names the file."""
    path = model / "tokenizer_config.json"
    template = "{{ messages[0]['content'] }}" + attack.replace("MARKER", str(marker))
    write_json(path, {**read_json(path), "chat_template": template})
    with pytest.raises(UserError, match=r"tokenizer_config\.json: the chat template cannot be used"):
        load_tokenizer(model)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch MARKER']",
        "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['MARKER']]",
        '!!python/object/new:tuple [!!python/object/new:map [!!python/name:eval , [\'open("MARKER", "w")\']]]',
        "!!python/module:os",
    ],
)
def test_yaml_makes_no_objects(tmp_path: Path, marker: Path, tag: str) -> None:
    """A configuration holds texts, numbers, lists and sections."""
    (tmp_path / "config.yaml").write_text(f"seed: {tag.replace('MARKER', str(marker))}\n")
    with pytest.raises(UserError, match=r"config\.yaml: not valid YAML, line 1"):
        read_config(tmp_path / "config.yaml")
    assert issubclass(_Strict, yaml.SafeLoader)


def linked(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_a_link_is_not_written_through(tmp_path: Path, kind: bytes) -> None:
    """First a link to a folder outside, then a file below it: refused at the link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as package:
        package.addfile(linked("json_2.1.1", str(outside), kind))
        entry = tarfile.TarInfo("json_2.1.1/stolen")
        entry.size = 4
        package.addfile(entry, io.BytesIO(b"evil"))
    with pytest.raises(UserError, match="refused"), building(tmp_path / "data" / "out") as folder:
        extract(archive, folder)
    assert not list(outside.iterdir()) and not (tmp_path / "data" / "out").exists()


def test_a_long_name_cannot_hide_a_parent_folder(tmp_path: Path) -> None:
    """PAX headers replace a member's name: the replaced one is checked."""
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as package:
        entry = tarfile.TarInfo("harmless")
        entry.pax_headers = {"path": "../escaped"}
        package.addfile(entry)
    with pytest.raises(UserError, match=r"refused, '\.\./escaped'"), building(tmp_path / "data" / "out") as folder:
        extract(archive, folder)
    assert not (tmp_path / "data" / "escaped").exists()


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """Two gigabytes by its directory, which is all that the module for reading it believes."""
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("zeros", bytes(1000))
    content = bytearray(archive.read_bytes())
    size = content.index(b"PK\x01\x02") + 24  # of the only entry of the directory, unpacked
    content[size : size + 4] = (2**31 - 1).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"bomb\.zip: refused, it would unpack to more than 1024 MB"):
        extract(archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]


FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "telnetlib", "xmlrpc"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "tempfile.mktemp"),
    *("ssl._create_unverified_context", "yaml.unsafe_load", "yaml.full_load", "numpy.fromfile"),
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def name_of(node: ast.expr) -> str:
    """`a.b.c` of a call's function; `.c` for a method of whatever an expression gives."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{name_of(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def dangers(source: str) -> list[str]:
    """What in a Python file could run code from outside or listen to the network: "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [(node, f"import {name}") for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.Constant) and node.value in ("0.0.0.0", "::"):
            found.append((node, f"listens everywhere: {node.value}"))
        elif isinstance(node, ast.Call):
            found += [(node, problem) for problem in call_dangers(node)]
    return [f"{node.lineno}: {problem}" for node, problem in found]


def call_dangers(node: ast.Call) -> Iterator[str]:
    name = name_of(node.func)
    given = {word.arg: word.value for word in node.keywords}
    constants = {word: value.value for word, value in given.items() if isinstance(value, ast.Constant)}
    if name in FORBIDDEN_CALLS:
        yield name
    if name == "torch.load" and constants.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if name in ("yaml.load", "yaml.load_all") and name_of(given.get("Loader", node)) not in (
        "_Strict",
        "yaml.SafeLoader",
    ):
        yield f"{name} with a loader that makes objects"
    if name in ("np.load", "numpy.load") and constants.get("allow_pickle", False) is not False:
        yield "numpy.load of pickles"
    for word, safe in (("shell", False), ("trust_remote_code", False), ("verify", True)):
        if word in given and constants.get(word, not safe) is not safe:
            yield f"{word}={ast.unparse(given[word])}"
    if name.endswith((".bind", "HTTPServer", "create_server", "start_server")) and node.args:
        address = node.args[0]
        host = address.elts[0] if isinstance(address, ast.Tuple) and address.elts else given.get("host", address)
        if not (isinstance(host, ast.Constant) and host.value in LOOPBACK):
            yield f"{name} on {ast.unparse(host)}"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "eval('1')",
        "exec(text)",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "requests.get(url, verify=False)",
        "server.bind(('', 80))",
        "HTTPServer(('0.0.0.0', 80), Handler)",
        "socketserver.TCPServer.bind((host, 80))",
    ],
)
def test_the_search_for_dangers_finds_them(line: str) -> None:
    """Each of these lines is reported, so that the next test means something."""
    assert dangers(line)


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_the_package_runs_nothing_from_outside(path: Path) -> None:
    """No pickle, no eval, no shell, no unsafe loader, no remote code, no port beyond this machine, in any module."""
    assert dangers(path.read_text(encoding="utf-8")) == []


SERVERS = re.compile(r"mlflow (?:server|ui)\b|http\.server|tensorboard|jupyter (?:lab|notebook)|ray start|vllm serve")
PAGES = [
    *(ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "dvc.yaml", "Snakefile")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "workflow").rglob("*.smk")),
    *sorted((ROOT / "profiles").rglob("*.yaml")),
]


def exposed(text: str) -> list[str]:
    """Lines that start a server without naming this machine as the only one to be served, or name all machines."""
    lines = [line for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]
    return [
        line
        for line in lines
        if "0.0.0.0" in line
        or (SERVERS.search(line) and not any(f"{flag}127.0.0.1" in line for flag in ("--host ", "--host=", "--bind ")))
    ]


def test_documented_servers_serve_this_machine_only() -> None:
    """Every command that starts one binds to 127.0.0.1, in the Makefile, the documents and the workflow."""
    assert exposed("\tmlflow server --port 5000") and exposed("tensorboard --host 0.0.0.0")
    texts = {path.name: path.read_text(encoding="utf-8") for path in PAGES if path.exists()}
    assert HOST == "127.0.0.1" and '"--host", HOST' in (ROOT / "hiper" / "tracking" / "server.py").read_text()
    assert {name: found for name, text in texts.items() if (found := exposed(text))} == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("http://me:hunter2@127.0.0.1:5000/x", "http://***@127.0.0.1:5000/x"),
        ("s3://key:a%40b@bucket", "s3://***@bucket"),
        ("--token=hunter2 --data data", "--token=*** --data data"),
        ("MLFLOW_TRACKING_PASSWORD=hunter2", "MLFLOW_TRACKING_PASSWORD=***"),
        ("aws_secret_access_key=hunter2", "aws_secret_access_key=***"),
        ("hiper train results/run --start me@host", "hiper train results/run --start me@host"),
        ("prompt.max_tokens=400", "prompt.max_tokens=400"),
    ],
)
def test_credentials_are_taken_out_of_text(text: str, wanted: str) -> None:
    """Addresses with a password, and values called token, password, secret or key; nothing else changes."""
    assert without_credentials(text) == wanted


def test_a_secret_on_the_command_line_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a manifest nor in the lock that tells others who writes here."""
    monkeypatch.setattr(sys, "argv", ["hiper", "x", "https://me:hunter2@host/data", "--token=hunter3"])
    assert command(tmp_path) == "hiper x 'https://***@host/data' '--token=***'"
    with exclusive(tmp_path / "run"):
        assert "hiper x" in str(owner(tmp_path / "run")) and "hunter" not in str(owner(tmp_path / "run"))
        assert "hunter" not in (tmp_path / ".run.lock").read_text()


SECRETS = {
    "HF_TOKEN": "hf_secretHuggingFaceToken",
    "AWS_SECRET_ACCESS_KEY": "secretAmazonAccessKey",
    "MLFLOW_TRACKING_TOKEN": "secretTrackingToken",
    "WANDB_API_KEY": "secretWeightsAndBiases",
    "MLFLOW_TRACKING_URI": "http://someone:secretAddressPassword@127.0.0.1:9/mlflow",
}
VALUES = ("hf_secretHuggingFaceToken", "secretAmazon", "secretTracking", "secretWeights", "secretAddress", "someone")


# Commands given one after the other in a single process, each as if it had been typed.
TYPED = """
import json, runpy, sys
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["hiper", *arguments]
    try:
        runpy.run_module("hiper", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
"""


def test_no_secret_of_the_environment_reaches_a_file_or_a_message(tmp_path: Path) -> None:
    """The stages up to training, with the live mirror on a server that is not there: afterwards no secret stands in any
    file they made, nor in what they wrote to the terminal."""
    settings = run_settings(**FEW_GAMES, training__episodes=4, training__iterations=1, tracking__live=True)
    make_games(tmp_path / "data", settings.benchmark)
    for run in (RUN_FOLDER, WARM_FOLDER):
        write_config(settings, tmp_path / run / "config.yaml")
    stages = [STAGES[name] for name in ("demonstrations", "tokenizer", "warmstart", "train")]
    track = [["track", step, str(RESULTS), "--best-effort"] for step in ("init", "sync")]
    done = subprocess.run(
        [sys.executable, "-c", TYPED, json.dumps([track[0], *stages, track[1]])],
        cwd=tmp_path,
        env={**os.environ, **SECRETS, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    _settled(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"manifest.json", "tracking.log", "metrics.jsonl"} <= {path.name for path in files}
    for secret in VALUES:
        assert secret not in done.stdout
        assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
    manifest = read_json(tmp_path / RUN_FOLDER / "manifest.json")
    assert manifest["command"].startswith("hiper train ")
    assert not any(name in json.dumps(manifest) for name in SECRETS)


def _settled(project: Path) -> None:
    """Wait until the background mirror of the run has ended, so that all it says has been written."""

    def follows(process: Path) -> bool:
        return str(project).encode() in _link(process / "cwd") and b"follow" in _bytes(process / "cmdline")

    wait_for(lambda: not any(follows(process) for process in Path("/proc").glob("[0-9]*")))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _link(path: Path) -> bytes:
    try:
        return os.readlink(path).encode()
    except OSError:
        return b""
