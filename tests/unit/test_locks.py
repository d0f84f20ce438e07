"""One writer per folder: told who it is, however the other one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hiper.errors import UserError
from hiper.locks import exclusive, join_workflow, lock_file, owner

HOLD = "import sys; from pathlib import Path; from hiper.locks import exclusive\n"
HOLD += "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
JOIN = "import sys; from pathlib import Path; from hiper.locks import join_workflow\n"
JOIN += "stream = join_workflow(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


@contextmanager
def another(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder until it is killed or the block ends."""
    command = [sys.executable, "-c", program, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    """The error names the folder, the process and its command."""
    folder = tmp_path / "run"
    with another(HOLD, folder) as process:
        with (
            pytest.raises(UserError, match=rf"{folder}: process {process.pid} on .*since") as caught,
            exclusive(folder),
        ):
            pass
        assert "wait until it has finished" in str(caught.value)
        assert f"process {process.pid}" in (owner(folder) or "")


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    """`kill -9` frees the folder at once, and what was half written is removed."""
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    with another(HOLD, folder) as process:
        torn, whole = folder / "model" / ".weights.abc.partial", folder / "model" / "weights"
        torn.mkdir()
        (torn / "weights").touch()
        whole.touch()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert owner(folder) is None
    with exclusive(folder):
        assert not torn.exists() and whole.exists()
        assert str(os.getpid()) in (owner(folder) or "")
    assert owner(folder) is None and not lock_file(folder).exists()


def test_folders_are_locked_one_by_one(tmp_path: Path) -> None:
    """Runs of one experiment do not wait for each other."""
    with another(HOLD, tmp_path / "first"), exclusive(tmp_path / "second"):
        pass


def test_snakemakes_locks_are_removed_only_when_it_is_dead(tmp_path: Path) -> None:
    """A lock of a killed workflow goes, that of a living one stays."""
    lock = tmp_path / "locks" / "0.output.lock"
    lock.parent.mkdir()
    lock.touch()
    with another(JOIN, tmp_path) as first:
        assert not lock.exists()
        lock.parent.mkdir()
        lock.touch()
        with another(JOIN, tmp_path):
            assert lock.exists()
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    join_workflow(tmp_path).close()
    assert not lock.exists()


def test_many_writers_take_turns(tmp_path: Path) -> None:
    """A counter that eight processes raise under the lock loses nothing, although each removes the lock file."""
    program = "import sys; from pathlib import Path; from hiper.locks import held\n"
    program += "count = Path(sys.argv[1]) / 'count'\n"
    program += "for _ in range(50):\n"
    program += "    with held(count.with_name('lock'), count, 60):\n"
    program += "        count.write_text(str(int(count.read_text()) + 1))\n"
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert (tmp_path / "count").read_text() == "400"


def test_a_files_next_writer_removes_what_was_left_of_it_alone(tmp_path: Path) -> None:
    """What a killed writer of a file left beside it goes; what belongs to the file's neighbours stays."""
    torn, other = tmp_path / ".page.html.abc.partial", tmp_path / ".table.csv.abc.partial"
    for folder in (torn, other):
        folder.mkdir()
        (folder / "half").write_text("ha")
    with exclusive(tmp_path / "page.html"):
        assert not torn.exists() and other.exists()
