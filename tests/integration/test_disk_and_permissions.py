"""A full disk and a folder that may not be written, for real: one message, nothing half-written under its name, earlier
results as they were, and the same command succeeds once there is room.

Each scenario runs in a forked child that either mounts a small file system of its own (in namespaces, which Linux lets
any process make) or, where that is forbidden, limits the size of its files.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import os
import resource
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline import RESULTS, ROWS, RUN, RUN_FOLDER, STAGES, TOKENIZER, WARM_FOLDER, make_games, run_settings

from hiper.cli.main import main
from hiper.compose import write_config

# What each stage writes.
OUTPUTS = {
    "demonstrations": ROWS.parent,
    "tokenizer": TOKENIZER,
    "warmstart": WARM_FOLDER,
    "train": RUN_FOLDER,
    "evaluate": RUN_FOLDER,
    "report": RESULTS / "tables",
}
# What tells of one execution, or grows row by row while a stage runs.
EXECUTION = ("manifest.json", "evaluation.json", "timings.jsonl")
GROWING = ("metrics.jsonl", "timings.jsonl", "episodes.jsonl", "evaluation.unfinished.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run."""
    folder = tmp_path_factory.mktemp("whole")
    settings = run_settings(
        benchmark__data__generate__train=20,
        benchmark__data__generate__valid_seen=2,
        benchmark__data__generate__valid_unseen=2,
        demonstrations__tasks=14,
        warm_start__steps=6,
        warm_start__warmup_steps=1,
        warm_start__checkpoint_every=3,
        training__episodes=4,
    )
    make_games(folder / "data", settings.benchmark)
    for run in (WARM_FOLDER, RUN_FOLDER):
        write_config(settings, folder / run / "config.yaml")
    with contextlib.chdir(folder):
        for command in STAGES.values():
            assert main(command) == 0
    return folder


def before(whole: Path, stage: str, folder: Path) -> None:
    """Make `folder` what `whole` was before `stage` ran; the report is not part of that."""
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    number = list(STAGES).index(stage)
    for later in ("figures", "tables"):
        shutil.rmtree(folder / RESULTS / later, ignore_errors=True)
    (folder / RESULTS / "report.html").unlink(missing_ok=True)
    for name, output in list(OUTPUTS.items())[number:]:
        if name == "evaluate":
            (folder / output / "evaluation.jsonl").unlink(missing_ok=True)
        for path in (folder / output).glob("*") if name not in ("evaluate", "report") else ():
            if path.name != "config.yaml":
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def contents(folder: Path) -> dict[str, str]:
    """Relative name → SHA-256 of every file that is not hidden (locks, temporary files)."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_child(action: Callable[[], Any]) -> Any:
    """What `action` gives in a forked child, as JSON; whatever it raises is raised here with the child's traceback."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = {"value": action()}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        with os.fdopen(writer, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    assert text, f"the child ended without an answer, status {status}"
    answer = json.loads(text)
    assert "error" not in answer, answer["error"]
    return answer["value"]


def run(command: list[str]) -> tuple[int, str]:
    """Exit code and what the command line writes to stderr; a traceback is an exception here."""
    with contextlib.redirect_stderr(io.StringIO()) as output:
        code = main(command)
    return code, output.getvalue()


NEW_NAMESPACES = 0x10000000 | 0x00020000  # CLONE_NEWUSER, CLONE_NEWNS
READ_ONLY, REMOUNT, BIND, PRIVATE = 1, 32, 4096, 1 << 18 | 16384


def own_mounts() -> bool:
    """Give this process mounts of its own; False where the system does not allow it."""
    user, group = os.getuid(), os.getgid()
    if LIBC.unshare(NEW_NAMESPACES):
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError:
        return False
    return LIBC.mount(None, b"/", None, PRIVATE, None) == 0


LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def full_disk(folder: Path, kind: str, free: int) -> Iterator[None]:
    """Leave `free` bytes: of a file system mounted at `folder`, or for each file."""
    if kind == "limit":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(free, SMALLER_THAN_A_MODEL), hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    filler = folder / ".filler"
    available = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with filler.open("wb") as stream:
        stream.write(bytes(max(0, available - free)))
    yield
    filler.unlink()


def mounted(folder: Path, kind: str) -> str:
    """Mount a file system of 32 MB at `folder`; the kind of fullness that is possible here."""
    if kind == "file system" and own_mounts() and LIBC.mount(b"t", bytes(folder), b"tmpfs", 0, b"size=32m") == 0:
        return kind
    return "limit"


SMALLER_THAN_A_MODEL = 60_000  # bytes

CASES = [
    ("demonstrations", "limit", [100, 20_000]),
    ("tokenizer", "limit", [100, 20_000]),
    ("warmstart", "limit", [0, 300, 60_000]),
    ("train", "limit", [300, 2_000, 60_000]),
    ("evaluate", "limit", [100, 1_500]),
    ("demonstrations", "file system", [0, 20_000]),
    ("tokenizer", "file system", [0, 20_000]),
    ("warmstart", "file system", [0, 60_000, 400_000]),
    ("train", "file system", [0, 60_000, 400_000]),
    ("evaluate", "file system", [0, 4096]),
    ("report", "file system", [0, 8192]),
]


@pytest.mark.parametrize(("stage", "kind", "frees"), CASES, ids=[f"{stage}-{kind}" for stage, kind, _ in CASES])
def test_a_full_disk_costs_nothing_but_time(
    whole: Path, tmp_path: Path, stage: str, kind: str, frees: list[int]
) -> None:
    """Status 2 and one message with a file name each time the disk fills up, at whatever file that happens; earlier
    results and finished files keep their bytes; with room the same command ends as it would have."""
    command, output = STAGES[stage], OUTPUTS[stage]

    def scenario() -> dict[str, Any]:
        possible = mounted(tmp_path, kind)
        before(whole, stage, tmp_path)
        os.chdir(tmp_path)
        first, failed = contents(tmp_path), []
        for free in frees:
            with full_disk(tmp_path, possible, free):
                failed.append((*run(command), contents(tmp_path), unfinished(tmp_path)))
        return {"first": first, "failed": failed, "after": run(command), "last": contents(tmp_path)}

    found = in_child(scenario)
    expected = contents(whole)
    assert found["failed"]
    for code, text, files, left in found["failed"]:
        assert code == 2 and text.startswith("hiper: ") and len(text.splitlines()) <= 6, text
        assert "full" in text or "larger than this process" in text, text
        assert "Earlier results are untouched" in text and "a file:" not in text, text
        assert left == [], "temporary files or half rows stay behind"
        for name, digest in found["first"].items():
            assert files.get(name) == digest or Path(name).name in EXECUTION, f"{name} was an earlier result"
        for name in files.keys() - found["first"].keys():
            in_progress = Path(name).name in GROWING or "checkpoints" in Path(name).parts
            assert in_progress or files[name] == expected[name], f"{name} is half-written"
    assert found["after"] == [0, ""]
    for name in expected.keys() & found["last"].keys():
        assert found["last"][name] == expected[name] or Path(name).name in EXECUTION, name
    later = ("evaluation.jsonl", "evaluation.json")
    own = [name for name in expected if name.startswith(str(output)) and Path(name).name not in later]
    assert all(name in found["last"] for name in own)


def unfinished(folder: Path) -> list[str]:
    """Temporary files, and files of rows whose last row has no end."""
    rows = [path for name in GROWING for path in folder.rglob(name)]
    cut = [path.name for path in rows if path.stat().st_size and not path.read_bytes().endswith(b"\n")]
    return sorted(path.name for path in folder.rglob(".*.partial")) + cut


def forbidden(folder: Path) -> Path:
    """Make `folder` unwritable for this process: a read-only mount, or another user, or no permission bits."""
    if own_mounts():
        path = bytes(folder)
        if LIBC.mount(path, path, None, BIND, None) == 0:
            LIBC.mount(None, path, None, REMOUNT | BIND | READ_ONLY, None)
    if os.access(folder, os.W_OK) and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    if os.access(folder, os.W_OK):
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


@pytest.mark.parametrize("stage", ["demonstrations", "tokenizer", "warmstart", "train", "evaluate", "report"])
def test_without_write_permission_nothing_changes(whole: Path, stage: str) -> None:
    """Status 2 and one message that names a file of the folder and what to do; every byte as before."""
    command = STAGES[stage]
    # not below the tests' own folder, which other users may not enter
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "project"
        before(whole, stage, folder)
        for path in (folder.parent, folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        first = contents(folder)

        def scenario() -> tuple[int, str]:
            os.chdir(forbidden(folder))
            return run(command)

        code, text = in_child(scenario)
        assert code == 2 and text.startswith("hiper: ") and len(text.splitlines()) <= 6, text
        assert "read-only" in text or "no permission" in text, text
        assert "results" in text.splitlines()[0] and "write elsewhere" in text, text
        assert contents(folder) == first


@pytest.mark.parametrize(
    ("place", "wanted"),
    [("file", "a file is where a folder is expected"), ("folder", "a folder is where a file is expected")],
)
def test_a_file_in_the_way_is_named(whole: Path, tmp_path: Path, place: str, wanted: str) -> None:
    """A file where the stage needs a folder, or the other way round."""
    before(whole, "tokenizer", tmp_path)
    if place == "file":
        (tmp_path / TOKENIZER).rmdir()
        (tmp_path / TOKENIZER).write_text("in the way")
    else:
        (tmp_path / TOKENIZER / "tokenizer.json").mkdir()

    def scenario() -> tuple[int, str]:
        os.chdir(tmp_path)
        return run(STAGES["tokenizer"])

    code, text = in_child(scenario)
    assert code == 2 and wanted in text and str(TOKENIZER) in text, text


def test_too_many_open_files_is_no_traceback(whole: Path, tmp_path: Path) -> None:
    """The limit of the process is named with the command that raises it."""
    before(whole, "tokenizer", tmp_path)

    def scenario() -> tuple[int, str]:
        os.chdir(tmp_path)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return run(["demonstrations", f"{WARM_FOLDER}/config.yaml", "--output", "x"])

    code, text = in_child(scenario)
    assert code == 2 and "too many open files" in text and "ulimit -n" in text, text


def test_an_error_of_the_code_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a person can mend becomes a message: another OSError, or any other exception, is a bug."""
    from hiper.cli import compose

    for error in (OSError("no number"), ConnectionResetError(104, "reset"), ValueError("bug")):

        def breaks(arguments: Any, error: Exception = error) -> int:
            raise error

        monkeypatch.setattr(compose, "compose", breaks)
        with pytest.raises(type(error)):
            main(["compose", "test", RUN, "--output", str(tmp_path / "x")])
