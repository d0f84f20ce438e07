"""Projects that the tests of the workflow may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkout import clone


@pytest.fixture(scope="session")
def project(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone(committed, tmp_path_factory.mktemp("workflow") / "project")


@pytest.fixture(scope="session")
def finished(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after the whole experiment has run."""
    return Path(shutil.copytree(reference, tmp_path_factory.mktemp("workflow") / "finished", symlinks=True))
