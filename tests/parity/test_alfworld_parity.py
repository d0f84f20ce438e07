"""The native engine against recordings of the original one; and the comparison itself, on a recording made here."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dev.parity.alfworld import compare_recording
from hiper.benchmarks.alfworld.games import GameText
from hiper.benchmarks.alfworld.native import NativeEngine, parse_game
from hiper.errors import UserError

PROBLEM = (Path(__file__).parents[1] / "rooms" / "quirks.pddl").read_text()
GAME = "train/pick_and_place_simple-Mug-None-Shelf-1/trial_1"
GRAMMAR = '"task": [{"rhs": "Your task is to: put a mug in shelf."}]'
FILE = json.dumps({"grammar": GRAMMAR, "pddl_problem": PROBLEM, "solvable": True}).encode()
ACTIONS = ("look", "go to desk 1", "", "take mug 2 from desk 1", "put mug 2 in/on shelf 2", "move mug 2 to shelf 2")


def recording() -> list[dict[str, Any]]:
    """One episode of six steps in the recordings' format, played here."""
    engine = NativeEngine()
    observation = engine.reset(parse_game(GameText(PROBLEM, "put a mug in shelf."), "quirks"))
    episode: dict[str, Any] = {"game": GAME, "task_type": "pick_and_place_simple", "steps": []}
    episode["reset"] = {"obs": observation, "admissible": list(engine.admissible)}
    for action in ACTIONS:
        step: dict[str, Any] = {"action": action, "obs": engine.step(action)}
        episode["steps"].append({**step, "admissible": list(engine.admissible), "won": engine.won})
    return [episode]


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """The recorded game in a folder of ALFWorld's layout."""
    folder = tmp_path / "games" / "json_2.1.1" / GAME
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_bytes(FILE)
    return tmp_path / "games"


def archive(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:xz") as stream:
        for name, content in members:
            information = tarfile.TarInfo(name)
            information.size = len(content)
            stream.addfile(information, io.BytesIO(content))
    return path.parent


def test_the_engine_repeats_every_recorded_point_of_the_original(shared_data: Path) -> None:
    """Text, admissible commands and victory, at every reset and step of 60 real games."""
    result = compare_recording(shared_data / "golden" / "alfworld.json.gz", shared_data / "data" / "alfworld")
    assert result.mismatches == []
    assert result.matched == result.total == 60 + 1772
    verbs = {
        "go",
        "open",
        "close",
        "take",
        "move",
        "clean",
        "heat",
        "cool",
        "use",
        "slice",
        "examine",
        "look",
        "refused",
    }
    assert verbs | {"inventory", "help"} <= result.verbs.keys()


def test_a_recording_made_here_matches_plain_and_compressed(tmp_path: Path, layout: Path) -> None:
    """One reset and six steps are seven points; two of the steps were refused."""
    plain = written(tmp_path / "recording.json", recording())
    compressed = tmp_path / "recording.json.gz"
    compressed.write_bytes(gzip.compress(plain.read_bytes()))
    for file in (plain, compressed):
        result = compare_recording(file, layout)
        assert (result.matched, result.total, result.mismatches) == (7, 7, [])
        assert result.verbs == {"go": 1, "look": 1, "move": 1, "refused": 2, "take": 1}


@pytest.mark.parametrize("field", ["obs", "admissible", "won"])
def test_every_field_of_every_point_counts(tmp_path: Path, layout: Path, field: str) -> None:
    """One changed field at step 4 is one mismatch that names game, step and action."""
    episodes = recording()
    step = episodes[0]["steps"][3]
    step[field] = {"obs": step["obs"] + " ", "admissible": step["admissible"][1:], "won": True}[field]
    result = compare_recording(written(tmp_path / "recording.json", episodes), layout)
    assert (result.matched, result.total) == (6, 7)
    assert len(result.mismatches) == 1
    assert result.mismatches[0].startswith(f"{GAME} step 4 'take mug 2 from desk 1'")


def test_games_are_found_in_archives_and_in_the_usual_places(
    tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with an archive works like a folder with games; without either, $ALFWORLD_DATA is looked at."""
    file = written(tmp_path / "recording.json", recording())
    packed = archive(tmp_path / "packed" / "json_2.1.1-train.tar.xz", (f"json_2.1.1/{GAME}/game.tw-pddl", FILE))
    assert compare_recording(file, packed).matched == 7
    monkeypatch.setenv("ALFWORLD_DATA", str(layout))
    assert compare_recording(file, None).matched == 7


def test_unsafe_paths_are_refused(tmp_path: Path, layout: Path) -> None:
    """Neither an archive entry nor a recorded name may point out of its folder."""
    episodes = recording()
    file = written(tmp_path / "recording.json", episodes)
    for name in ("../outside/game.tw-pddl", "/outside/game.tw-pddl", f"json_2.1.1/../../{GAME}/game.tw-pddl"):
        packed = archive(tmp_path / "packed" / "games.tar.xz", (name, FILE))
        with pytest.raises(UserError, match="unsafe path"):
            compare_recording(file, packed)
    episodes[0]["game"] = "../../outside"
    with pytest.raises(UserError, match="unsafe path"):
        compare_recording(written(tmp_path / "bad.json", episodes), layout)


def test_missing_games_and_broken_recordings_are_explained(tmp_path: Path, layout: Path) -> None:
    """The message says what is missing and where it was looked for, or which episode is malformed."""
    file = written(tmp_path / "recording.json", recording())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"1 of 1 recorded games not found.*--data"):
        compare_recording(file, tmp_path / "empty")
    (tmp_path / "empty" / "json_2.1.1-train.tar.xz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="not a readable archive"):
        compare_recording(file, tmp_path / "empty")
    for content, message in (({}, "a list of episodes"), ([{"game": GAME}], "episode 0"), ([1], "episode 0")):
        with pytest.raises(UserError, match=message):
            compare_recording(written(tmp_path / "bad.json", content), layout)
    episodes = recording()
    del episodes[0]["steps"][2]["won"]
    with pytest.raises(UserError, match="episode 0 needs"):
        compare_recording(written(tmp_path / "bad.json", episodes), layout)
    (tmp_path / "bad.json.gz").write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(UserError, match="not JSON"):
        compare_recording(tmp_path / "bad.json.gz", layout)
