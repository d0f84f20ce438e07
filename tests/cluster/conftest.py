"""One real Slurm and one copy of the project for all tests on a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_slurm import LocalSlurm, NotHere


@pytest.fixture(scope="session")
def slurm() -> Iterator[LocalSlurm]:
    """The cluster, running; a skip with the reason where there can be none."""
    try:
        cluster = LocalSlurm.started()
    except NotHere as reason:
        pytest.skip(f"no cluster of our own: {reason}")
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def project(
    slurm: LocalSlurm, committed: Path, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A copy of the project, on the cluster."""
    from checkout import clone, give_database
    from grid import STARTED

    yield give_database(clone(committed, tmp_path_factory.mktemp("cluster") / "project"), empty_database)
    for process in STARTED:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def story(slurm: LocalSlurm, project: Path) -> Any:
    """The grid, begun, orphaned, taken up again and disturbed in four ways."""
    from story import tell

    return tell(slurm, project)
