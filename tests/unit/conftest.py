"""A small pipeline whose files the unit tests read, copy and damage."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline import FEW_GAMES, prepare, run_settings

from hiper.config import RunSettings

ROOM = 3 << 30  # bytes of address space beyond those at the start of a module's tests


@pytest.fixture(scope="session")
def small_settings() -> RunSettings:
    return run_settings(**FEW_GAMES)


@pytest.fixture(scope="session")
def small_pipeline(
    made_once: Callable[[str, Callable[[Path], object]], Path],
    tmp_path_factory: pytest.TempPathFactory,
    small_settings: RunSettings,
) -> Path:
    """Games, demonstrations, a tokenizer and a model folder, each by its stage. Who damages a file mends it again."""
    made = made_once("small", lambda folder: prepare(folder, small_settings))
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("small") / "pipeline"))


@pytest.fixture
def copied_pipeline(small_pipeline: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_pipeline, tmp_path / "copied")
    return tmp_path / "copied"


@pytest.fixture(scope="module")
def limited_memory() -> Iterator[None]:
    """A reader that believes a damaged size gets MemoryError, which is no UserError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
