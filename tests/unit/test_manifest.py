"""Manifests say what made a result, and nothing that should not be published."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

from hiper.compose import compose_run, write_config
from hiper.config import RunSettings
from hiper.digests import config_digest
from hiper.errors import UserError
from hiper.manifest import (
    command,
    content_hash,
    data_hash,
    datasets,
    git_state,
    made_with,
    read_manifest,
    require_data,
    verify_outputs,
    write_manifest,
)
from hiper.records import leftover

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    return compose_run("test", "alfworld_test-test-hiper-seed0", ROOT)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data root with the index of one data set."""
    (tmp_path / "data" / "alfworld_test").mkdir(parents=True)
    (tmp_path / "data" / "alfworld_test" / "dataset.json").write_text("{}")
    return tmp_path / "data"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_manifest_names_everything_a_result_depends_on(settings: RunSettings, data: Path, tmp_path: Path) -> None:
    """Settings, data, versions, seeds, inputs and time are there and are read back."""
    (tmp_path / "input.txt").write_text("abc")
    started = time.monotonic() - 5.0
    written = write_manifest(tmp_path / "run", settings, data, {"rows": tmp_path / "input.txt"}, started)
    assert read_manifest(tmp_path / "run") == written
    assert written["configuration"] == config_digest(settings)
    assert made_with(tmp_path / "run") == settings.model_dump(mode="json")
    assert written["data"] == data_hash(data, "alfworld_test") and written["folder"] == "run"
    assert written["inputs"] == {"rows": hashlib.sha256(b"abc").hexdigest()}
    assert written["packages"]["torch"] and written["packages"]["numpy"]
    assert written["seeds"] == {"run": 0, "demonstrations": 0, "data": 0}
    assert written["wall_time_seconds"] >= 5.0


def test_a_manifest_holds_no_absolute_path_and_no_environment(
    settings: RunSettings, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be published: paths below the project are relative, others shortened, variables left out."""
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setattr(
        sys, "argv", ["/usr/bin/hiper", "train", f"{tmp_path}/results/run", "--start", "/elsewhere/model"]
    )
    write_manifest(tmp_path / "run", settings, data)
    text = (tmp_path / "run" / "manifest.json").read_text()
    assert str(tmp_path) not in text and "hunter2" not in text and "/elsewhere" not in text
    assert json.loads(text)["command"] == "hiper train results/run --start model"
    assert command(tmp_path) == "hiper train results/run --start model"


def test_the_commit_is_marked_dirty_when_tracked_files_differ(tmp_path: Path) -> None:
    """None outside a repository and before the first commit; then the commit, dirty after an edit only."""
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    assert git_state(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "untracked").write_text("1")
    assert git_state(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": True}


def test_a_project_inside_of_another_repository_has_no_commit(tmp_path: Path) -> None:
    """The other's commit says nothing about it; what belongs to a larger repository has that one's."""
    git(tmp_path, "init", "-q")
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a").write_text("1")
    git(tmp_path, "add", "part")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "unpacked").mkdir()
    assert git_state(tmp_path / "unpacked") is None
    assert git_state(tmp_path / "part") == git_state(tmp_path) is not None


def test_what_git_says_on_refusing_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With its status and the remedy it names, whatever bytes it writes; nothing outside a repository."""
    (tmp_path / "git").write_text("#!/bin/sh\nprintf 'fatal: dubious \\351\\ngit config --global X\\n' >&2\nexit 128\n")
    (tmp_path / "git").chmod(0o755)
    assert git_state(tmp_path) is None and caplog.messages == []
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert git_state(tmp_path) is None and git_state(tmp_path) is None
    (message,) = caplog.messages
    assert "status 128: fatal: dubious \ufffd\ngit config --global X" in message


def test_a_link_to_the_data_does_not_hide_the_project(settings: RunSettings, data: Path, tmp_path: Path) -> None:
    """Commit and DVC's hash as if data/ lay in the project."""
    git(tmp_path, "init", "-q")
    there = data_hash(data, "alfworld_test")
    assert there is not None
    lock(data, there["dvc"])
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "disk").mkdir()
    data.rename(tmp_path / "disk" / "data")
    data.symlink_to(tmp_path / "disk" / "data")
    written = write_manifest(tmp_path / "run", settings, data)
    assert written["git"] is not None and written["data"] == there


def lock(data: Path, md5: str, name: str = "alfworld_test") -> None:
    (data.parent / "dvc.lock").write_text(f"stages: {{s@{name}: {{outs: [{{path: data/{name}, md5: {md5}}}]}}}}")
    os.utime(data.parent / "dvc.lock", (0, 0))


def test_a_data_set_is_told_by_its_content_as_dvc_tells_it(data: Path) -> None:
    """DVC's own hash of the folder, whoever made it; what file managers leave there does not count."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    folder, tree = data / "alfworld_test", Tree()
    for name in ("b/ä.json", "b.json", "dataset.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
        tree.add(tuple(name.split("/")), None, HashInfo("md5", hashlib.md5(name.encode()).hexdigest()))
    tree.digest()
    assert data_hash(data, "alfworld_test") == {"dvc": tree.oid}
    for name in (".DS_Store", "b/._ä.json", "Thumbs.db", "dataset.json~", "b (copy)/x", "dataset (1).json", ".nfs00a1"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left")
    assert data_hash(data, "alfworld_test") == {"dvc": tree.oid}
    (folder / "b" / "circle").symlink_to(folder)
    (folder / "b" / "itself").symlink_to(".")
    assert data_hash(data, "alfworld_test") == {"dvc": tree.oid}
    assert data_hash(data, "nosuch") is None


def test_every_changed_byte_of_a_data_set_is_found(data: Path) -> None:
    """In place or by another file of the same size and time, of any name; also by a process that has read it before."""
    folder = data / "alfworld_test"
    (folder / "a.json").write_bytes(b"0123")
    before, times = data_hash(data, "alfworld_test"), (folder / "a.json").stat()
    for place in range(4):
        changed = bytearray(b"0123")
        changed[place] ^= 1
        (folder / "new").write_bytes(changed)
        os.utime(folder / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
        (folder / "new").rename(folder / "a.json")
        assert data_hash(data, "alfworld_test") != before, place
    (folder / "a.json").write_bytes(b"0123")
    assert data_hash(data, "alfworld_test") == before
    times = (folder / "a.json").stat()
    (folder / "a.json").write_bytes(b"3210")
    os.utime(folder / "a.json", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert data_hash(data, "alfworld_test") != before
    (folder / "a.json").write_bytes(b"0123")
    (folder / "a.json").rename(folder / "b.json")
    assert data_hash(data, "alfworld_test") != before


def test_a_part_of_a_data_set_behind_a_link_counts(data: Path, tmp_path: Path) -> None:
    """`mv data/x/train /scratch && ln -s`: the same data, and every byte there is looked at."""
    folder = data / "alfworld_test"
    (folder / "train").mkdir()
    (folder / "train" / "a.json").write_text("1")
    before = data_hash(data, "alfworld_test")
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "train").symlink_to(tmp_path / "elsewhere")
    assert data_hash(data, "alfworld_test") == before
    (tmp_path / "elsewhere" / "a.json").write_text("2")
    assert data_hash(data, "alfworld_test") != before


def test_data_that_are_not_what_dvc_lock_says_are_refused(data: Path) -> None:
    """By name; another data set's entry does not count."""
    found = data_hash(data, "alfworld_test")
    lock(data, "1e.dir", "other")
    assert data_hash(data, "alfworld_test") == found
    assert found is not None
    lock(data, found["dvc"])
    assert data_hash(data, "alfworld_test") == found
    (data / "alfworld_test" / "dataset.json").write_text("[]")
    with pytest.raises(
        UserError, match=r"alfworld_test: its content is not what dvc\.lock says; `hiper data repro alf"
    ):
        data_hash(data, "alfworld_test")


def test_a_dvc_lock_is_read_when_dvc_has_written_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC cuts the file and writes it anew, while other jobs write their manifests: they wait for the entry."""
    found = data_hash(data, "alfworld_test")
    assert found is not None
    entry = "stages: {{alfworld@alfworld_test: {{outs: [{{path: data/alfworld_test, md5: {}}}]}}}}"
    stages = iter(["stages: {alfworld@alf", entry.format("0f.dir"), entry.format(found["dvc"])])
    path = data.parent / "dvc.lock"
    path.write_text("")
    monkeypatch.setattr(datasets.time, "sleep", lambda seconds: path.write_text(next(stages)))
    assert data_hash(data, "alfworld_test") == found
    assert next(stages, None) is None


def test_what_was_made_with_other_data_is_refused(settings: RunSettings, data: Path, tmp_path: Path) -> None:
    """Until the data are put back; a manifest of an earlier version has the checksum of the index. Data that change
    while a stage is at work leave it without a manifest."""
    run, index = tmp_path / "run", data / "alfworld_test" / "dataset.json"
    begun = require_data(run, data, "alfworld_test")
    write_manifest(run, settings, data, data=begun)
    assert require_data(run, data, "alfworld_test") == begun
    index.write_text("[]")
    with pytest.raises(UserError, match=r"run: was made with other data than .*alfworld_test holds now"):
        require_data(run, data, "alfworld_test")
    with pytest.raises(UserError, match="alfworld_test: changed while this stage was at work"):
        write_manifest(tmp_path / "second", settings, data, data=begun)
    assert not (tmp_path / "second").exists()
    old = json.loads((run / "manifest.json").read_text()) | {
        "data": {"dataset.json": hashlib.sha256(b"[]").hexdigest()}
    }
    (run / "manifest.json").write_text(json.dumps(old))
    assert require_data(run, data, "alfworld_test") == data_hash(data, "alfworld_test")


@pytest.mark.parametrize("recorded", ["folder", "command", "seeds"])
def test_a_copy_of_a_run_is_refused_by_name(
    settings: RunSettings, data: Path, tmp_path: Path, recorded: str
) -> None:  # fmt: skip
    """`cp -r …-seed0 …-seed1`, by whatever its manifest tells of the run; under its own name, or under one that no run
    has, it may lie anywhere."""
    run = tmp_path / "a-b-hiper-seed0"
    written = write_manifest(run, settings, data)
    told = {"folder": {}, "command": {"command": "hiper train results/x/runs/a-b-hiper-seed0"}, "seeds": {}}[recorded]
    if recorded != "folder":
        written.pop("folder")
    (run / "manifest.json").write_text(json.dumps(written | told))
    copy = tmp_path / ("a-b-hiper-seed1" if recorded == "seeds" else "a-b-ppo-seed0")
    for place in (tmp_path / "backup" / run.name, tmp_path / "backup of it", copy):
        shutil.copytree(run, place)
    verify_outputs(tmp_path / "backup" / run.name)
    verify_outputs(tmp_path / "backup of it")
    words = "with seed 0" if recorded == "seeds" else "a-b-hiper-seed0"
    with pytest.raises(UserError, match=f"{copy.name}/manifest.json: is of .*{words}: the folder is a copy"):
        verify_outputs(copy)


def test_a_link_to_a_run_is_no_run_of_its_own(settings: RunSettings, data: Path, tmp_path: Path) -> None:
    """Under the name of another seed; a run that lies elsewhere and is linked by its own name goes on."""
    run = tmp_path / "a-b-hiper-seed0"
    write_manifest(run, settings, data)
    (tmp_path / "a-b-hiper-seed1").symlink_to(run)
    with pytest.raises(UserError, match=r"seed1/manifest\.json: is of the run a-b-hiper-seed0"):
        verify_outputs(tmp_path / "a-b-hiper-seed1")
    run.rename(tmp_path / "disk")
    run.symlink_to(tmp_path / "disk")
    verify_outputs(run)
    assert write_manifest(run, settings, data)["folder"] == "a-b-hiper-seed0"


def test_a_run_that_was_copied_into_another_experiment_does_not_go_on_there(
    settings: RunSettings, data: Path, tmp_path: Path
) -> None:
    """Once its config.yaml is the other experiment's; moved with its own it goes on anywhere."""
    run = tmp_path / "other" / "runs" / "a-b-hiper-seed0"
    write_manifest(run, settings, data)
    write_config(settings, run / "config.yaml")
    verify_outputs(run)
    write_config(settings.model_copy(update={"experiment": "other"}), run / "config.yaml")
    with pytest.raises(
        UserError, match=r"made in the experiment test, and its config\.yaml is of the experiment other"
    ):
        verify_outputs(run)


def test_names_that_file_managers_and_editors_make_are_told_from_others() -> None:
    """What people and this project call files is never taken for a leftover, and DVC passes over the same files."""
    made = (
        "x (copy)",
        "x (3rd copy).yaml",
        "x copy.json",
        "x copy 2",
        "x - Copy (2)",
        "Copy of x",
        "x (1)",
        "x.bak",
        "x~",
    )
    made += (
        ".DS_Store",
        "._x",
        ".nfs0000a1",
        ".x.swp",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX",
        ".x.k3j.partial",
        "x.orig",
    )
    own = (
        "dataset.json",
        "photocopy",
        "hard_copy.yaml",
        "trial_T20190907_1",
        "ppo.copy",
        "a-b-hiper-seed0",
        "x.bak.yaml",
    )
    assert [name for name in made if not leftover(name)] == [] == [name for name in own if leftover(name)]
    lines = (Path(__file__).parents[2] / ".dvcignore").read_text(encoding="utf-8").splitlines()
    by_dvc = GitIgnoreSpec.from_lines(lines)
    files = [f"data/set/{name}{'/x' * (name == '__MACOSX')}" for name in made]
    assert [name for name in files if not by_dvc.match_file(name)] == []
    assert [name for name in own if by_dvc.match_file(f"data/set/{name}")] == []


def test_a_folders_hash_changes_with_names_and_contents(tmp_path: Path) -> None:
    """Renaming a file or changing a byte changes it; nothing there gives None."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = content_hash(folder)
    (folder / "a").rename(folder / "b")
    second = content_hash(folder)
    (folder / "b").write_text("2")
    assert len({first, second, content_hash(folder)}) == 3
    assert content_hash(tmp_path / "nosuch") is None


def test_an_unfinished_folder_has_no_manifest(tmp_path: Path) -> None:
    """The manifest is written last: where it is missing, the stage has not ended."""
    assert read_manifest(tmp_path) is None
