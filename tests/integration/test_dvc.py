"""The data stages under DVC: made, found unchanged, shared through a remote folder, got back byte for byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from hiper.errors import UserError
from hiper.manifest import data_hash

ROOT = Path(__file__).resolve().parents[2]
STAGE = "alfworld@alfworld_test"
DATA = Path("data/alfworld_test")


class Checkout:
    """A copy of what the data stages need, outside version control, with DVC's caches of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("dvc.yaml", ".dvcignore", ".dvc/config", "configs/benchmark", "hiper"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(ROOT / name, target)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",  # where the stage finds hiper
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_NO_ANALYTICS": "1",
        }
        self.dvc("config", "--local", "core.no_scm", "true")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dvc", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def dvc(self, *arguments: str) -> str:
        running = self.start(*arguments)
        output, errors = running.communicate()
        assert running.returncode == 0, output + errors
        return output

    def hiper(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hiper", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def digests(self) -> dict[str, str]:
        files = sorted(path for path in (self.folder / DATA).rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    made.dvc("repro", STAGE)
    return made


def test_a_repeated_stage_finds_nothing_to_do(checkout: Checkout) -> None:
    """`status` is clean and `repro` skips."""
    assert json.loads(checkout.dvc("status", "--json", STAGE)) == {}
    assert "didn't change, skipping" in checkout.dvc("repro", STAGE)


def test_push_and_pull_bring_back_identical_bytes(checkout: Checkout, tmp_path: Path) -> None:
    """Through a folder as remote, with cache and data deleted in between."""
    before = checkout.digests()
    assert len(before) == 2 * 60 + 1  # two files for each of 48 + 6 + 6 games, and the index
    checkout.dvc("remote", "add", "--force", "--default", "shelf", str(tmp_path / "remote"))
    checkout.dvc("push", STAGE)
    shutil.rmtree(checkout.folder / ".dvc" / "cache")
    shutil.rmtree(checkout.folder / "data")
    checkout.dvc("pull", STAGE)
    assert checkout.digests() == before


def test_the_data_set_costs_no_second_copy(checkout: Checkout) -> None:
    """Its files are hard links into the cache, read-only so that nothing can change the cache through them."""
    index = (checkout.folder / DATA / "dataset.json").stat()
    assert index.st_nlink == 2
    assert index.st_mode & 0o222 == 0


def test_changed_data_are_refused_and_come_back_by_the_commands_that_the_message_names(checkout: Checkout) -> None:
    """Replaced, edited in place (through the hard link in DVC's cache too), removed, added; what a file manager leaves
    is no change to DVC either."""
    before, data = checkout.digests(), checkout.folder / "data"
    locked = yaml.safe_load((checkout.folder / "dvc.lock").read_text())["stages"][STAGE]["outs"][0]["md5"]
    assert data_hash(data, DATA.name) == {"dvc": locked}
    (checkout.folder / DATA / ".DS_Store").write_text("Mac")
    assert data_hash(data, DATA.name) == {"dvc": locked} and json.loads(checkout.dvc("status", "--json", STAGE)) == {}
    (checkout.folder / DATA / ".DS_Store").unlink()
    path = next((checkout.folder / DATA).rglob("game.tw-pddl"))
    name = path.relative_to(checkout.folder / DATA)

    def replace() -> None:
        path.with_name("new").write_bytes(path.read_bytes() + b" ")
        path.with_name("new").rename(path)

    def edit() -> None:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b" ")

    for change, words, command in (
        (replace, f"{name} differs", ("dvc", "checkout", "--force", str(DATA))),
        (edit, "", ("hiper", "data", "repro", DATA.name)),
        (path.unlink, f"{name} is missing", ("dvc", "checkout", "--force", str(DATA))),
        (path.with_name("new").touch, "new is additional", ("hiper", "data", "repro", DATA.name)),
    ):
        change()
        with pytest.raises(UserError, match=rf"{DATA.name}: its content is not what dvc.lock says") as caught:
            data_hash(data, DATA.name)
        assert words in str(caught.value) and f"`{' '.join(command)}`" in str(caught.value)
        subprocess.run([sys.executable, "-m", *command], cwd=checkout.folder, env=checkout.environment, check=True)
        assert checkout.digests() == before, change
        assert data_hash(data, DATA.name) == {"dvc": locked}


def test_only_the_keys_that_determine_the_games_make_the_stage_stale(checkout: Checkout) -> None:
    """A longer turn limit leaves the games as they are; another seed does not."""
    path = checkout.folder / "configs" / "benchmark" / "alfworld_test.yaml"
    original = path.read_text(encoding="utf-8")
    settings = yaml.safe_load(original)
    try:
        path.write_text(yaml.safe_dump({**settings, "max_turns": settings["max_turns"] + 1}), encoding="utf-8")
        assert json.loads(checkout.dvc("status", "--json", STAGE)) == {}
        settings["data"]["generate"]["seed"] += 1
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        assert STAGE in json.loads(checkout.dvc("status", "--json", STAGE))
    finally:
        path.write_text(original, encoding="utf-8")


def test_two_commands_at_once_wait_for_each_other(checkout: Checkout) -> None:
    """With `--wait-for-lock` two stages started together both succeed. (The same stage twice does not: it is busy.)"""
    path = checkout.folder / "configs" / "benchmark" / "alfworld_small.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    settings["data"]["generate"].update(train=6, valid_seen=3, valid_unseen=3)
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    stages = ("alfworld@alfworld_small", STAGE)
    running = [checkout.start("--wait-for-lock", "repro", "--force", stage) for stage in stages]
    for command in running:
        output, errors = command.communicate()
        assert command.returncode == 0, output + errors


@pytest.mark.parametrize(
    ("name", "content"),
    [(".dvc/tmp/rwlock", '{"write": {"da'), ("dvc.lock", "")],
)
def test_what_a_killed_dvc_left_half_written_does_not_stop_the_stage(
    checkout: Checkout, name: str, content: str
) -> None:
    """Plain DVC gives up; our command says what it found, and the data stay as they were."""
    before = checkout.digests()
    (checkout.folder / name).write_text(content)
    assert checkout.start("repro", STAGE).wait() != 0
    done = checkout.hiper("data", "repro", "alfworld_test")
    assert done.returncode == 0, done.stderr
    assert f"{name} was left half written" in done.stderr and "removing it" in done.stderr
    assert checkout.digests() == before


def test_half_written_hashes_are_replaced_by_the_committed_ones(checkout: Checkout) -> None:
    """Where the project is under version control, the hashes of the other stages survive."""
    environment = {**checkout.environment, "GIT_CONFIG_GLOBAL": os.devnull}
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-f", "dvc.lock"], [*identity, "commit", "-qm", "hashes"]):
        subprocess.run(["git", *command], cwd=checkout.folder, env=environment, check=True)
    try:
        path = checkout.folder / "dvc.lock"
        committed = path.read_bytes()
        path.write_bytes(committed[: committed.index(b"cmd:")])
        done = checkout.hiper("data", "repro", "alfworld_test")
        assert done.returncode == 0, done.stderr
        assert "taking the committed one" in done.stderr and path.read_bytes() == committed
    finally:
        shutil.rmtree(checkout.folder / ".git")


@pytest.mark.parametrize("surroundings", ["no repository", "data behind a link"])
def test_the_stage_needs_nothing_of_git(checkout: Checkout, tmp_path: Path, surroundings: str) -> None:
    """A project from a ZIP, data on another disk: our command makes the same files where plain DVC refuses, and leaves
    no setting behind."""
    before, folder = checkout.digests(), checkout.folder
    local = (folder / ".dvc" / "config.local").rename(tmp_path / "config.local")
    try:
        if surroundings == "data behind a link":
            subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
            (folder / "data").rename(tmp_path / "data")
            (folder / "data").symlink_to(tmp_path / "data")
        assert checkout.start("repro", "--force", STAGE).wait() != 0
        done = checkout.hiper("data", "repro", "--force", "alfworld_test")
        assert done.returncode == 0, done.stderr
        assert checkout.digests() == before and not (folder / ".dvc" / "config.local").exists()
    finally:
        shutil.move(local, folder / ".dvc" / "config.local")
        if (folder / "data").is_symlink():
            (folder / "data").unlink()
            (tmp_path / "data").rename(folder / "data")
            shutil.rmtree(folder / ".git")


@pytest.mark.parametrize(
    ("name", "content", "reason", "status"),
    [
        (".dvc/config.local", "[cache]\ndir = /proc/nowhere\n", "/proc/nowhere", 255),
        (".dvc/config.local", "[core\n", "configuration error", 251),
    ],
)
def test_what_dvc_says_on_failing_is_told_with_its_status(
    checkout: Checkout, name: str, content: str, reason: str, status: int
) -> None:
    """An unusable cache, a damaged setting: DVC's words, then what to do."""
    path = checkout.folder / name
    text = path.read_text()
    try:
        path.write_text(content)
        done = checkout.hiper("data", "repro", "--force", "alfworld_test")
    finally:
        path.write_text(text)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    said, advice = done.stderr.split("hiper: ")
    assert reason in said and f"DVC ended with status {status}" in advice and "hiper data repro alfworld_test" in advice


def test_a_killed_stage_goes_on_with_the_same_command(checkout: Checkout) -> None:
    """`kill -9` of DVC and the stage it runs, at several moments; our command then makes the same files, DVC too."""
    before, random = checkout.digests(), np.random.default_rng(int(os.environ.get("HIPER_FAULT_SEED", "0")))
    for _ in range(2):
        running = checkout.start("--wait-for-lock", "repro", "--force", STAGE)
        try:
            running.communicate(timeout=float(random.uniform(0.5, 5.0)))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    done = checkout.hiper("data", "repro", "alfworld_test")
    assert done.returncode == 0, done.stderr
    assert checkout.digests() == before
    checkout.dvc("repro", "--force", STAGE)
    assert checkout.digests() == before


def test_the_committed_lock_names_no_machine() -> None:
    """Paths in dvc.yaml and dvc.lock are relative to the project."""
    for name in ("dvc.yaml", "dvc.lock"):
        if (ROOT / name).exists():
            paths = [
                item["path"] if isinstance(item, dict) and "path" in item else item
                for stage in yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))["stages"].values()
                for key in ("deps", "outs")
                for item in stage.get("do", stage)[key]
            ]
            assert paths
            assert not [path for path in paths if Path(path).is_absolute() or ".." in Path(path).parts]


def test_the_committed_lock_is_of_this_code() -> None:
    """Else the first stage that runs rewrites it, and manifests say that the checkout was changed: `hiper data repro`
    for each data set in it, and commit."""
    for stage, kept in yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"].items():
        for dependency in kept["deps"]:
            path = ROOT / dependency["path"]
            if path.suffix == ".py":
                assert hashlib.md5(path.read_bytes()).hexdigest() == dependency["md5"], (stage, dependency["path"])


def test_every_benchmark_file_has_a_stage() -> None:
    """Under its benchmark's name; and every stage a benchmark file, whose data set has the file's name."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    files = {path.stem: path for path in (ROOT / "configs" / "benchmark").glob("*.yaml")}
    described = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in files.items()}
    assert {name: values["dataset"] for name, values in described.items()} == {name: name for name in files}
    expected: dict[str, set[str]] = {}
    for name, values in described.items():
        expected.setdefault(values["name"], set()).add(name)
    assert {benchmark: set(stage["foreach"]) for benchmark, stage in stages.items()} == expected


def test_a_stage_depends_on_the_code_that_its_bytes_follow_from() -> None:
    """Every module of the package that making a WebShop data set imports, but for what only reads it or checks it."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    program = "import sys, hiper.benchmarks.webshop.sources; print(*(n for n in sys.modules if '.webshop.' in n))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {f"{name.replace('.', '/')}.py" for name in done.stdout.split()}
    assert imported <= set(stages["webshop"]["do"]["deps"])
