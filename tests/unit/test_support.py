"""The page of model support says what tests proved, of tests that are there; one that proves something else fails."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import support
from library_models import OTHERS, OWN
from project import ROOT

from dev.pages import support as page

TEST = "tests/unit/test_x.py::test_x[phi]"


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Those of one test."""
    path = tmp_path / "support.json"
    path.write_text(json.dumps({TEST: {"phi": ["loads"]}}))
    monkeypatch.setattr(support, "RECORDS", path)
    monkeypatch.setattr(page, "RECORDS", path)
    monkeypatch.delenv(support.RECORDING, raising=False)
    return path


def test_rows_are_the_families_that_tests_make() -> None:
    """In their order, those computed by the library last."""
    assert [*page.FAMILIES] == [*OWN, *OTHERS]


def test_every_record_is_of_a_test_that_is_there() -> None:
    """As pytest collects them, whatever is selected today; and in words that the page knows."""
    recorded = json.loads(support.RECORDS.read_text())
    files = sorted({name.split("::")[0] for name in recorded})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert recorded.keys() <= {*done.stdout.splitlines()}, done.stderr
    for file, test in {tuple(name.partition("[")[0].split("::")) for name in recorded}:
        # one that says nothing any more would leave its record behind
        tree = ast.parse((ROOT / file).read_text())
        (function,) = (one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == test)
        assert "supports" in [argument.arg for argument in function.args.args], test
    for said in recorded.values():
        assert said.keys() <= page.FAMILIES.keys() and page.PROVED.keys() >= {
            one for what in said.values() for one in what
        }


def test_the_page_shows_what_is_recorded_and_nothing_else(records: Path) -> None:
    """One cell of all says yes."""
    rows = [line.split(" | ") for line in page.markdown().splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows if "yes" in row] == ["| Phi 1, 1.5, 2"]
    assert rows[0][1] == "loads" and sum(row.count("yes") for row in rows) == 1


@pytest.mark.parametrize("said", [{}, {"phi": {"trains"}}, {"phi": {"loads", "trains"}}, {"phi3": {"loads"}}])
def test_a_test_that_proves_something_else_fails(records: Path, said: dict[str, set[str]]) -> None:
    """Less, more or other things than are recorded of it; recorded again it passes."""
    support.compare(TEST, {"phi": {"loads"}})
    with pytest.raises(pytest.fail.Exception, match=f"run it with {support.RECORDING}=1"):
        support.compare(TEST, said)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(support.RECORDING, "1")
        support.compare(TEST, said)
    support.compare(TEST, said)
    assert (TEST in json.loads(records.read_text())) == bool(said)


@pytest.fixture
def inner(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """pytest on a file of one test, with the fixtures of this project."""

    def run(body: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "tests"
        folder.mkdir()
        for name in ("conftest.py", "support.py", "support.json"):
            (folder / name).write_text((ROOT / "tests" / name).read_text())
        (folder / "test_one.py").write_text(f"def test_one(supports):\n    {body}\n")
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)]
        return subprocess.run([*command, str(folder)], cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.parametrize("body", ["pass", "supports('phi', 'loads'); assert False", "supports('phi', 'loads')"])
def test_only_what_a_passing_test_says_counts(inner: Callable[[str], object], body: str) -> None:
    """A test that says nothing passes; one that fails proves nothing; one that passes is compared with the records."""
    done = inner(body)
    assert isinstance(done, subprocess.CompletedProcess)
    last = done.stdout.splitlines()[-1]
    assert ("1 passed, 1 error" in last) == ("assert" not in body and body != "pass"), done.stdout
    assert ("1 failed" in last) == ("assert" in body) and ("error" in last) == (body == "supports('phi', 'loads')")
