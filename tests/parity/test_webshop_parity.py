"""WebShop against recordings of the original; and the comparison itself, on recordings made here."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dev.parity.__main__ import main
from dev.parity.recordings import read_recording
from dev.parity.webshop import compare_recording, page_record
from dev.parity.webshop_shop import RecordedShop, Recording, Stock
from hiper.benchmarks.webshop.catalogue import generate
from hiper.benchmarks.webshop.goals import goal_record
from hiper.benchmarks.webshop.pages import ProductPages
from hiper.benchmarks.webshop.session import Session
from hiper.errors import UserError

POINTS = {
    "analyzer_porter_chars": 88 + 14208,
    "analyzer_tokens": 192 + 60 + 1000 + 3,
    "episodes_hiper_manager": 21 + 139,
    "episodes_princeton": 51 + 609,
    "goals_princeton_pre20240601": 1 + 6910 + 1000 + 1,
    "hiper_goals_by_seed": 3 * 5 + 2,
    "hiper_projection_cases": 7,
    "nouns_stub": 0,
    "reward_cases": 311,
    "search_pyserini0.17_lucene8_1k": 103,
}
SEED = 3


@pytest.mark.parametrize("name", POINTS)
def test_every_recorded_point_of_the_original_is_repeated(shared_data: Path, name: str) -> None:
    """Pages, clickables, rewards, errors, goals, prices, rankings and terms, field by field."""
    folder = shared_data / "golden" / "webshop"
    if not folder.is_dir():
        pytest.skip(f"no recordings of WebShop at {folder}")
    result = compare_recording(folder / f"{name}.json.gz", shared_data / "data" / "webshop")
    assert result.mismatches == []
    assert result.matched == result.total
    assert result.total == POINTS[name]


def test_strict_differs_from_the_recordings_only_where_it_should(shared_data: Path) -> None:
    """Through a back door, and after the purchase; in all other recorded steps strict does what the original did."""
    folder = shared_data / "golden" / "webshop"
    if not folder.is_dir():
        pytest.skip(f"no recordings of WebShop at {folder}")
    file = folder / "episodes_princeton.json.gz"
    recording = Recording(file, read_recording(file), shared_data / "data" / "webshop")
    shop = RecordedShop(stock := recording.stock(), stock.original_order, recording.nouns())
    pages = ProductPages(shop.product)
    compared = different = 0
    for episode in recording.content:
        session = Session(shop, shop.goal(episode["goal_idx"]), "strict", pages)
        bought = back_door = False
        for recorded in episode["steps"]:
            back_door = back_door or recorded["action"].startswith("search[<")
            step = session.step(recorded["action"])
            if bought or back_door:
                different += 1
                continue
            compared += 1
            own = {"reward": step.reward, "done": step.done, **page_record(step.page)}
            assert own == {key: recorded[key] for key in own}
            bought = step.done
    assert compared > 500
    assert different < 60


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few products in the files of the original's small set."""
    folder = tmp_path_factory.mktemp("webshop")
    items, instructions = generate(30, seed=1)
    (folder / "items_shuffle_1000.json").write_text(json.dumps(items))
    (folder / "items_ins_v2_1000.json.gz").write_bytes(gzip.compress(json.dumps(instructions).encode()))
    return folder


@pytest.fixture
def folder(tmp_path: Path, raw: Path) -> Path:
    """A folder for recordings: the title nouns lie in it, under a name that does not tell."""
    nouns = {
        item["name"]: item["name"].lower().split() for item in json.loads((raw / "items_shuffle_1000.json").read_text())
    }
    (tmp_path / "other.json").write_text(json.dumps(nouns))
    return tmp_path


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def shop_of(raw: Path, folder: Path, *, manager: bool) -> tuple[RecordedShop, list[str]]:
    """The shop of a recording, and the actions that buy the product of its goal 0 without choosing an option."""
    stock = Stock(raw)
    order = stock.hiper_order(SEED) if manager else stock.original_order
    shop = RecordedShop(stock, order, json.loads((folder / "other.json").read_text()))
    goal = shop.goal(0)
    return shop, [f"search[{goal.name}]", "nonsense", f"click[{goal.asin}]", "click[buy now]"]


def episodes(raw: Path, folder: Path) -> list[dict[str, Any]]:
    """One episode of WebShop's form, played here; its last action crashes the original."""
    shop, actions = shop_of(raw, folder, manager=False)
    session = Session(shop, shop.goal(0), "exact")
    instruction = f"Instruction: {shop.goal(0).instruction}"
    start = {"instruction_text": instruction, "info": None, **page_record(session.page)}
    episode: dict[str, Any] = {"name": "made here", "goal_idx": 0, "reset": start, "steps": []}
    for action in actions:
        step = session.step(action)
        answer = {"reward": step.reward, "done": step.done, "info": None, **page_record(step.page)}
        episode["steps"].append({"action": action, **answer})
    episode["steps"].append({"action": "search[<c>]", "error": "IndexError: list index out of range"})
    return [episode]


def trajectories(raw: Path, folder: Path) -> list[dict[str, Any]]:
    """The same purchase as HiPER's environment manager tells it, worked out by hand from the pages."""
    shop, actions = shop_of(raw, folder, manager=True)
    goal = shop.goal(0)
    start = {"has_search_bar": True, "clickables": ["search"]}
    trajectory: dict[str, Any] = {"kind": "options", "seed": SEED, "goal_idx": 0, "early_terminate_penalty": -1.0}
    trajectory["goal"] = {key: value for key, value in goal_record(goal).items() if key != "reachable"}
    trajectory["reset"] = {"anchor": "'Search'", "info": {"available_actions": start, "won": False}}
    trajectory["steps"] = []
    session = Session(shop, goal, "exact")
    for action in actions:
        step = session.step(action)
        pieces = step.page.observation.split(" [SEP] ")
        quoted = " [SEP] ".join(f"'{piece}'" for piece in pieces[2:])
        info: dict[str, Any] = {"task_score": step.reward, "won": step.reward == 1.0, "is_action_valid": 1}
        info |= {"available_actions": start if step.done else page_record(step.page)["available"], "switch": "KEEP"}
        reward = 0.0 if not step.done else 10.0 if step.reward == 1.0 else -1.0
        answer = {"anchor": step.page.observation if step.done else quoted, "reward": reward, "done": step.done}
        text = f"<switch>keep</switch><subgoal>buy it</subgoal><action>{action}</action>"
        trajectory["steps"].append({"raw": text, "info": info, **answer})
    return [trajectory]


MAKERS: list[Callable[[Path, Path], list[dict[str, Any]]]] = [episodes, trajectories]


@pytest.mark.parametrize("make", MAKERS)
def test_a_recording_made_here_matches_under_any_name(
    raw: Path, folder: Path, make: Callable[[Path, Path], list[dict[str, Any]]]
) -> None:
    """Plain and gzipped, whatever it is called: the content tells what it is."""
    content = make(raw, folder)
    plain = write(folder / "a.json", content)
    packed = folder / "b.bin"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    points = 1 + len(content[0]["steps"])
    for file in (plain, packed):
        result = compare_recording(file, raw)
        assert (result.matched, result.total, result.mismatches) == (points, points, [])


@pytest.mark.parametrize("make", MAKERS)
def test_every_recorded_field_counts(
    raw: Path, folder: Path, make: Callable[[Path, Path], list[dict[str, Any]]]
) -> None:
    """One changed, missing or additional field of one point is one mismatch, which names the field."""
    original = json.dumps(make(raw, folder))
    whole = json.loads(original)[0]
    for place, fields in (("reset", whole["reset"]), (2, whole["steps"][2])):
        for field in [*fields, "more"]:
            if field in ("action", "raw"):
                continue
            changed = json.loads(original)
            point = changed[0]["reset"] if place == "reset" else changed[0]["steps"][place]
            point[field] = "other"
            result = compare_recording(write(folder / "a.json", changed), raw)
            assert result.total - result.matched == len(result.mismatches) == 1
            assert f" {field}: " in result.mismatches[0]


def test_an_action_that_does_not_crash_here_is_a_mismatch(raw: Path, folder: Path) -> None:
    """An error of the original must be the same error here, word for word."""
    content = episodes(raw, folder)
    content[0]["steps"][-1]["error"] = "IndexError: other words"
    content[0]["steps"][0] = {"action": content[0]["steps"][0]["action"], "error": "TypeError: none"}
    assert len(compare_recording(write(folder / "a.json", content), raw).mismatches) == 2


TEXTS = {
    "<think>t</think><action> Click[A] </action>": ("click[a]", 1, "None", "", 0),
    "<action>a</action>": ("a", 0, "None", "", 0),
    "<THINK>t</THINK><ACTION>a</ACTION>": ("a", 0, "None", "", 0),
    "<switch>Switch</switch><subgoal> G </subgoal><action>a</action>": ("a", 0, "G", "SWITCH", 1),
    "<switch>maybe</switch><subgoal>G</subgoal><action>a</action>": ("a", 0, "", "KEEP", 0),
    "<switch>SWITCH</switch><action>a</action>": ("a", 0, "", "SWITCH", 0),
    "<switch>KEEP</switch><subgoal>G</subgoal> and no block": ("ubgoal> and no block", 0, "", "", 0),
    "<switch>KEEP</switch><subgoal>一</subgoal><action>a</action>": ("a", 0, "一", "KEEP", 0),
    "<think>一</think><action>a</action>": ("a", 0, "None", "", 0),
    "</action><action>a": ("", 0, "None", "", 0),
}


def test_texts_are_read_as_hiper_reads_them(folder: Path) -> None:
    """Action, validity of both readings, subgoal, switch; each case as the rules of the released code have it."""
    content = []
    for raw_text, (action, valid, subgoal, switch, both) in TEXTS.items():
        options = {"action": action, "subgoal": subgoal, "switch": switch, "valid": both}
        content.append({"raw": raw_text, "plain": {"action": action, "valid": valid}, "options": options})
    result = compare_recording(write(folder / "a.json", content), None)
    assert (result.mismatches, result.matched) == ([], len(TEXTS))


def test_data_and_nouns_that_are_missing_are_named(
    raw: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what the recording needs, where it was looked for, and what to do."""
    file = write(folder / "a.json", episodes(raw, folder))
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match=r"items_shuffle_1000\.json and items_ins_v2_1000\.json.*--data DIR"):
        compare_recording(file, empty)
    alone = shutil.copy(file, empty / "a.json")
    with pytest.raises(UserError, match=r"title nouns .* are missing"):
        compare_recording(Path(alone), raw)
    (empty / "nouns.json").write_text('{"Some title": ["title"]}')
    with pytest.raises(UserError, match="lack the title"):
        compare_recording(Path(alone), raw)
    monkeypatch.setenv("WEBSHOP_DATA", str(raw))
    assert compare_recording(file, None).mismatches == []


def test_data_beside_the_recording_are_found(raw: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `data/webshop` beside the file, or two folders above it."""
    monkeypatch.delenv("WEBSHOP_DATA", raising=False)
    nested = folder / "golden" / "webshop"
    nested.mkdir(parents=True)
    shutil.copytree(raw, folder / "data" / "webshop")
    content = episodes(raw, folder)
    for place in (folder, nested):
        shutil.copy(folder / "other.json", place / "nouns.json")
        assert compare_recording(write(place / "a.json", content), None).mismatches == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a list of objects"),
        ([1], "a list of objects"),
        ({"b": 1}, "none of the recordings"),
        ([{"raw": 1, "plain": {}, "options": {}}], "`raw` = 1"),
        ([{"name": "x", "goal_idx": 10**6, "reset": {}, "steps": []}], "goal 1000000"),
        ([{"name": "x", "goal_idx": True, "reset": {}, "steps": []}], "`goal_idx`"),
        ([{"name": "x", "goal_idx": 0, "reset": {}, "steps": [3]}], "entry 0, step 1"),
        ([{"kind": "plain", "seed": 0, "goal": {}, "reset": {}, "steps": []}], "entry 0: no goal_idx"),
    ],
)
def test_broken_recordings_are_explained(raw: Path, folder: Path, content: Any, message: str) -> None:
    """The error names the file and what is wrong in it."""
    file = write(folder / "a.json", content)
    with pytest.raises(UserError, match=message) as caught:
        compare_recording(file, raw)
    assert str(file) in str(caught.value) or "goal 1000000" in str(caught.value)


def test_the_command_counts_over_all_its_files(raw: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line is the sum; one difference in one file makes the exit status 1, and so does nothing at all."""
    made = episodes(raw, folder)
    good = write(folder / "a.json", made)
    made[0]["steps"][0]["obs"] += "!"
    bad = write(folder / "b.json", made)
    data = ["--data", str(raw)]
    assert main(["webshop", str(good), str(folder / "other.json"), *data]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "6/6 match"
    assert main(["webshop", str(good), str(bad), *data]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{good}: 6/6 match", f"{bad}: 5/6 match"]
    assert lines[-1] == "11/12 match"
    assert main(["webshop", str(folder / "other.json"), *data]) == 1
