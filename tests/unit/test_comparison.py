"""`hiper compare`: two folders of results, byte for byte or in what was computed alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiper.cli.main import main
from hiper.runs.comparison import Difference, compare

RUN = "runs/a-b-hiper-seed0"
PROVENANCE = {
    "command": "hiper train",
    "configuration": "c0",
    "git": {"commit": "1", "dirty": False},
    "packages": {"torch": "1"},
    "python": "3.11.1",
    "settings": {"seed": 0},
    "wall_time_seconds": 1.0,
}
FILES: dict[str, Any] = {
    "tables/success.csv": "a\n",
    "report.html": "<p>commit 1</p>",
    f"{RUN}/config.yaml": "seed: 0\n",
    f"{RUN}/metrics.jsonl": "{}\n",
    f"{RUN}/timings.jsonl": "{}\n",
    f"{RUN}/manifest.json": PROVENANCE | {"data": {"dvc": "d"}, "inputs": {"start": "s"}, "outputs": {"model": "m"}},
    f"{RUN}/evaluation.json": PROVENANCE | {"episodes": "e"},
    "variance/a-b.json": {
        "git": None,
        "packages": {},
        "settings": {"hiper": "x"},
        "variance": {"tasks": 4},
        "turns": 1,
    },
}
KEYS = {
    f"{RUN}/manifest.json": set(PROVENANCE),
    f"{RUN}/evaluation.json": set(PROVENANCE),
    "variance/a-b.json": {"git", "packages", "settings", "variance"},
}


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def with_other_keys(name: str) -> dict[str, Any]:
    """The file with another value of each key of its provenance."""
    return {key: f"other {value}" if key in KEYS[name] else value for key, value in FILES[name].items()}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write(tmp_path / "first", FILES)


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """The same results of another commit, with other versions and settings."""
    provenance = {name: with_other_keys(name) for name in KEYS}
    pages = {"report.html": "<p>commit 2</p>", f"{RUN}/config.yaml": "seed: 0\nmore: 1\n"}
    return write(tmp_path / "moved", {**FILES, **provenance, **pages})


def test_a_difference_is_found(first: Path, tmp_path: Path) -> None:
    """One changed byte, one missing file and one changed manifest are named; a clock is no difference."""
    changed = {
        "tables/success.csv": "b\n",
        f"{RUN}/timings.jsonl": '{"elapsed": 2}\n',
        f"{RUN}/manifest.json": FILES[f"{RUN}/manifest.json"] | {"wall_time_seconds": 3.0},
        f"{RUN}/evaluation.json": FILES[f"{RUN}/evaluation.json"] | {"episodes": "others"},
    }
    other = write(tmp_path / "other", {**FILES, **changed})
    (other / RUN / "metrics.jsonl").unlink()
    for results_only, total in ((False, 7), (True, 5)):
        count, differences = compare(first, other, results_only)
        assert count == total
        assert set(differences) == {
            Difference(f"{RUN}/metrics.jsonl", f"missing in {other}"),
            Difference("tables/success.csv", "differs"),
            Difference(f"{RUN}/evaluation.json", "differs"),
        }


def test_results_of_two_commits_are_equal_in_what_was_computed(
    first: Path, moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the option every file is named and the last line says that provenance alone differs; with it they are
    equal, and the last line says what was left out."""
    assert main(["compare", str(first), str(moved)]) == 1
    *named, last = capsys.readouterr().out.splitlines()
    assert sorted(named) == sorted(
        [
            "report.html: differs; beside what the tables hold it shows commits and settings",
            f"{RUN}/config.yaml: differs in settings",
            *(f"{name}: differs in its provenance alone" for name in KEYS),
        ]
    )
    assert last.startswith("2/7 files are equal, the others in what was computed: they differ in commit, versions")
    assert main(["compare", str(first), str(moved), "--results-only"]) == 0
    said = "equal in what was computed; left out: commit, versions, command lines, settings and report.html"
    assert capsys.readouterr().out == f"5/5 files are {said}\n"


@pytest.mark.parametrize(
    ("name", "key"), [(name, key) for name in KEYS for key in FILES[name] if key not in KEYS[name]]
)
def test_what_was_computed_is_never_left_out(first: Path, moved: Path, name: str, key: str) -> None:
    """Each key of a manifest or a variance record that is no provenance is compared, also its absence."""
    for value in ({key: "another"}, {}):
        kept = {one: content for one, content in with_other_keys(name).items() if one != key}
        write(moved, {name: {**kept, **value}})
        assert compare(first, moved, results_only=True)[1] == [Difference(name, "differs")]
        assert Difference(name, "differs") in compare(first, moved)[1]


def test_computed_differences_are_not_called_provenance(
    first: Path, moved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One computed byte among differences of provenance: the last line claims nothing."""
    write(moved, {"tables/success.csv": "b\n"})
    assert main(["compare", str(first), str(moved)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1/7 files are equal"
    assert main(["compare", str(first), str(moved), "--results-only"]) == 1
    assert "tables/success.csv: differs\n4/5 files are equal in what was computed" in capsys.readouterr().out
