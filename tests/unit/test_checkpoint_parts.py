"""A checkpoint that several processes write is whole when all of its parts are, and is read by any number of them."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from hiper.errors import UserError
from hiper.learning.processes import Processes
from hiper.learning.training_engine import whole
from hiper.stages import checkpoint

SIZE = 3
VALUES = torch.arange(10.0)  # of a parameter [2, 5]: parts of 4, 4 and 2 with two more that mean nothing


def part(rank: int, progress: int) -> dict[str, Any]:
    padded = torch.cat([VALUES + progress, torch.full((2,), float("nan"))])
    mine = {"w": padded[4 * rank : 4 * rank + 4]}
    return {"weights": mine, "exp_avg": mine, "exp_avg_sq": {}, "step": {"w": 1.0}, "shapes": {"w": [2, 5]}}


def write(folder: Path, progress: int, size: int = SIZE, token: str = "a0") -> None:
    """As processes do, the first of which is the last to be ready."""
    for rank in reversed(range(size)):
        further = {"best": progress} if rank == 0 else {}
        with checkpoint.Writer(folder, Processes(rank, size), token) as writer:
            writer.begin(progress, {"actor": part(rank, progress)}, further)


def read(folder: Path) -> tuple[int, dict[str, Any]]:
    loaded = checkpoint.load_latest(folder)
    assert loaded is not None and loaded[1]["best"] == loaded[0]
    return loaded[0], whole([state["actor"] for state in checkpoint.parts_of(loaded[1])])


def test_parts_make_the_whole(tmp_path: Path) -> None:
    """What fills up the last part is cut off; what no part has, the whole has not."""
    write(tmp_path, 1)
    progress, state = read(tmp_path)
    assert progress == 1 and state["weights"]["w"].equal((VALUES + 1).view(2, 5)) and state["step"] == {"w": 1.0}
    assert "w" in state["exp_avg"] and "w" not in state["exp_avg_sq"] and len(state["exp_avg_sq"]) == 0


@pytest.mark.parametrize("name", ["00000002.1of3.a0.pt", "00000002.2of3.a0.sha256", "00000002.pt"])
@pytest.mark.parametrize("missing", [False, True])
def test_one_damaged_or_missing_part_makes_it_useless(
    tmp_path: Path, name: str, missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The checkpoint before is used, and the log names the file; a part of that, too, and there is none."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    path = tmp_path / name
    if missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level(logging.ERROR):
        assert read(tmp_path)[0] == 1
    assert (name == "00000002.pt" and missing) or name.removesuffix("sha256").removesuffix("pt") in caplog.text
    (tmp_path / "00000001.0of3.a0.pt").unlink()
    assert checkpoint.load_latest(tmp_path) is None and "starting from the beginning" in caplog.text


def test_old_ones_go_with_all_their_parts(tmp_path: Path) -> None:
    """Also what was left by processes that died before the first had counted them, and by another number of processes;
    what a file manager copied stays."""
    write(tmp_path, 1)
    with checkpoint.Writer(tmp_path, Processes(1, SIZE), "a0") as writer:
        writer.begin(2, {"actor": part(1, 2)}, {})  # and the first dies
    (tmp_path / "00000001 (copy).pt").write_bytes(b"")
    assert read(tmp_path)[0] == 1
    for progress in (3, 4):
        write(tmp_path, progress, size=2)
    assert {path.name[:8] for path in tmp_path.iterdir()} == {"00000001", "00000003", "00000004"}
    assert [path.name for path in tmp_path.glob("00000001*")] == ["00000001 (copy).pt"]
    checkpoint.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001 (copy).pt"]


def test_a_process_goes_on_while_its_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none before it is whole, and one that cannot be written is an error where the process waits for it."""
    real, released = checkpoint._write, Event()
    monkeypatch.setattr(checkpoint, "_write", lambda *given: (released.wait(), real(*given)))
    weight = torch.zeros(3)
    with checkpoint.Writer(tmp_path, Processes()) as writer:
        writer.begin(1, checkpoint.copied({"one": weight, "again": [weight]}), {})
        before = checkpoint.load_latest(tmp_path)
        weight += 1.0  # the next iteration
        released.set()
        writer.finish()
        assert before is None
        loaded = checkpoint.load_latest(tmp_path)
        assert loaded is not None and loaded[1]["one"].tolist() == loaded[1]["again"][0].tolist() == [0.0, 0.0, 0.0]

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(OSError, match="No space left"), checkpoint.Writer(tmp_path, Processes()) as writer:
        writer.begin(2, {}, {})


def test_parts_of_an_earlier_attempt_are_not_this_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of the same number is written again, and a process dies before its part: the one before stays whole,
    and the first says which part it has not found, in place of waiting for ever."""
    write(tmp_path, 1, token="a0")
    monkeypatch.setattr(checkpoint, "FOR_OTHERS", 0.0)
    for rank in (2, 0):
        writer = checkpoint.Writer(tmp_path, Processes(rank, SIZE), "b1")
        writer.begin(1, {"actor": part(rank, 5)}, {})
        if rank:
            writer.finish()
            continue
        with pytest.raises(UserError, match=r"00000001\.1of3\.b1\.pt is not there"):
            writer.finish()
    progress, state = read(tmp_path)
    assert progress == 1 and state["weights"]["w"].equal((VALUES + 1).view(2, 5))


def test_tensors_that_only_lie_at_one_place_stay_two() -> None:
    """Empty ones of other types, a matrix and what it is transposed."""
    square = torch.arange(4.0).view(2, 2)
    state = checkpoint.copied(
        {"i": torch.zeros(0, dtype=torch.int64), "f": torch.zeros(0), "m": square, "t": square.t()}
    )
    assert (state["i"].dtype, state["f"].dtype) == (torch.int64, torch.float32)
    assert state["m"].equal(square) and state["t"].equal(square.t())


def test_what_two_networks_share_is_copied_once() -> None:
    """A backbone that actor and critic train together is one tensor in their checkpoint."""
    weight = torch.ones(2, 2)
    state = checkpoint.copied({"actor": {"w": weight}, "critic": {"w": weight, "part": weight[1:]}})
    assert state["actor"]["w"] is state["critic"]["w"] is not weight
    assert state["critic"]["part"].tolist() == [[1.0, 1.0]] and state["critic"]["part"] is not state["actor"]["w"]
