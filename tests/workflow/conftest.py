"""One copy of the project in which the experiment `test` has run, for all tests of the workflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import copy_project, run_whole


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("workflow") / "project")


@pytest.fixture(scope="session")
def finished(project: Path) -> Path:
    """The copy after the whole experiment has run."""
    run_whole(project)
    return project
