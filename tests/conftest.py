"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real games (`data/`) and the recordings of the original code (`golden/`), or a skip."""
    folder = Path(os.environ.get("HIPER_SHARED_DATA", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no recordings at {folder}: set HIPER_SHARED_DATA to the folder that holds data/ and golden/")
    return folder
