"""An engine in each of two processes that train together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline import ROOT

from hiper.records import read_json

pytestmark = pytest.mark.vllm


def test_each_process_has_an_engine_that_waits_for_no_other(prepared: Path, tmp_path: Path) -> None:
    """In one process group, with other weights and another number of requests of another length: both end, and what the
    same request is answered shows whose weights played."""
    worker = Path(__file__).with_name("vllm_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(worker)]
    arguments = [str(prepared / "warmstart" / "model"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (read_json(tmp_path / f"{rank}.json")["answers"] for rank in (0, 1))
    assert [len(tokens) for tokens in first] == [5] * 2 and [len(tokens) for tokens in second] == [15] * 5
    assert first[0] != second[0][:5]
