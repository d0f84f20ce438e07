"""What a killed process left of an extension that DeepSpeed builds when it is first used."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from hiper.learning.deepspeed_engine import LONGEST_BUILD, remove_dead_builds


@pytest.mark.parametrize("chosen", [True, False])
def test_only_the_lock_of_a_dead_build_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool
) -> None:
    """Older than any build; where torch builds by itself, and where the environment says."""
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setattr("torch.utils.cpp_extension.get_default_build_root", lambda: str(tmp_path))
    folder = tmp_path / "py311_cpu"
    if chosen:
        monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(folder))
    for name in ("dead", "going_on"):
        (folder / name).mkdir(parents=True)
        (folder / name / "lock").touch()
    past = time.time() - LONGEST_BUILD - 1
    os.utime(folder / "dead" / "lock", (past, past))
    remove_dead_builds()
    assert not (folder / "dead" / "lock").exists() and (folder / "going_on" / "lock").exists()
