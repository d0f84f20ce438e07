"""What the tests of the vLLM backend share. They need vLLM's own environment: `make test-vllm`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from pipeline import prepare, run_settings
from vllm_model import SIZES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """This folder bears the package's name, so a namespace of that name proves nothing."""
    found = find_spec("vllm")
    if found is not None and found.origin is not None:
        return
    for item in items:
        if item.get_closest_marker("vllm") is not None:
            item.add_marker(pytest.mark.skip(reason="vLLM is not in this environment: make test-vllm"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with games, demonstrations, tokenizer and a warm start of a few steps."""
    return prepare(tmp_path_factory.mktemp("prepared"), run_settings(**SIZES))
