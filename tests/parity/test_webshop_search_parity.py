"""Search and analyzer against recordings of Lucene 8; and the comparisons themselves, on recordings changed here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.parity.recordings import read_recording
from dev.parity.webshop import compare_recording
from dev.parity.webshop_result import ParityResult
from dev.parity.webshop_search import (
    compare_analyzer_characters,
    compare_analyzer_tokens,
    compare_search,
)
from hiper.errors import UserError

SEARCHES, TERMS, CHARACTERS = "search_pyserini0.17_lucene8_1k", "analyzer_tokens", "analyzer_porter_chars"


@pytest.fixture(scope="module")
def data(shared_data: Path) -> Path:
    return shared_data / "data" / "webshop"


@pytest.fixture(scope="module")
def recording(shared_data: Path) -> Callable[[str], Any]:
    return lambda name: read_recording(shared_data / "golden" / "webshop" / f"{name}.json.gz")


@pytest.mark.parametrize(("name", "points"), [(SEARCHES, 103), (TERMS, 192 + 60 + 1000 + 3), (CHARACTERS, 88 + 14_208)])
def test_every_recorded_point_is_repeated(shared_data: Path, data: Path, name: str, points: int) -> None:
    """Order and scores of searches; terms of queries, documents, words and characters; lengths of all documents."""
    result = compare_recording(shared_data / "golden" / "webshop" / f"{name}.json.gz", data)
    assert result.mismatches == []
    assert result.matched == result.total == points


def changed_searches(recording: Any) -> None:
    first, second, third, fourth = (row["hits"] for row in recording["results"][:4])
    first[0], first[1] = first[1], first[0]
    second[3][1] += 2e-4
    third.pop()
    fourth[3][1] += 5e-5


def changed_terms(recording: Any) -> None:
    next(iter(recording["queries"].values())).append("zebra")
    next(iter(recording["docs_first60"].values())).pop()
    recording["doc_len"][next(iter(recording["doc_len"]))] += 1


def changed_characters(recording: Any) -> None:
    recording["porter"]["technology"] = ["technologi"]
    recording["chars"]["128"] = []
    recording["chars"]["233"] = ["ab", "cdef"]


@pytest.mark.parametrize(
    ("name", "compare", "change"),
    [
        (SEARCHES, compare_search, changed_searches),
        (TERMS, compare_analyzer_tokens, changed_terms),
        (CHARACTERS, compare_analyzer_characters, changed_characters),
    ],
)
def test_every_difference_counts(
    data: Path,
    recording: Callable[[str], Any],
    name: str,
    compare: Callable[[Any, Path], ParityResult],
    change: Callable[[Any], None],
) -> None:
    """Three changes of a recording are three mismatches; half a rounding step of a score is none."""
    other = copy.deepcopy(recording(name))
    change(other)
    result = compare(other, data)
    assert len(result.mismatches) == result.total - result.matched == 3


def test_a_recording_without_its_parts_is_refused(data: Path) -> None:
    """The message says what is missing."""
    for compare in (compare_search, compare_analyzer_tokens, compare_analyzer_characters):
        with pytest.raises(UserError, match="no "):
            compare({}, data)
