"""Malformed, contradictory and misspelt configuration: one screen that names file and key, whatever is wrong."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline import ROOT, RUN, changed

from hiper.cli.main import main
from hiper.compose import compose_run, load_grid, read_config
from hiper.config import RunSettings, parse_grid, parse_run
from hiper.config.errors import SHOWN
from hiper.errors import UserError
from hiper.yaml_files import LARGEST, read_yaml

CELLS = {"test": RUN, "demo": "alfworld_small-tiny-ppo-seed1", "paper": "alfworld-qwen2.5_7b_instruct-hiper-seed2"}
SCREEN = 24  # lines
Path_ = tuple[str, ...]


@pytest.fixture(scope="module")
def composed() -> dict[str, dict[str, Any]]:
    """Real configurations of three experiments as plain values."""
    return {name: compose_run(name, run, ROOT).model_dump(mode="json") for name, run in CELLS.items()}


@pytest.fixture(scope="module")
def values(composed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return composed["test"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the configuration that a test may damage."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def paths(values: dict[str, Any], prefix: Path_ = ()) -> Iterator[Path_]:
    """Every section and setting, as the keys that lead to it."""
    for key, value in values.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, key))


def section(values: dict[str, Any], path: Path_) -> dict[str, Any]:
    found = values
    for key in path[:-1]:
        found = found[key]
    return found


def reached(values: dict[str, Any], path: Path_) -> Any:
    return section(values, path)[path[-1]]


def message(values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        parse_run(values, "config.yaml")
    return one_screen(str(caught.value))


def one_screen(text: str) -> str:
    assert len(text.splitlines()) <= SCREEN and max(map(len, text.splitlines())) < 500, text
    assert "Traceback" not in text and "pydantic" not in text and "errors.pydantic.dev" not in text
    return text


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [float("nan"), float("inf"), -float("inf"), -1, 0, 1, -0.5, 1e300, 10**30, "", "1e-3", "yes", "x" * 5000]
    ),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


@given(data=st.data())
@settings(max_examples=300)
def test_a_mutated_configuration_is_valid_or_the_error_names_the_key(
    composed: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    """Deleting, renaming or replacing any section or setting of a real configuration gives settings, or a message of
    one screen with the source and the key."""
    values = copy.deepcopy(composed[data.draw(st.sampled_from(sorted(CELLS)))])
    path = data.draw(st.sampled_from(sorted(paths(values))))
    place, key = section(values, path), path[-1]
    change = data.draw(st.sampled_from(["delete", "rename", "retype", "add"]))
    if change == "delete":
        del place[key]
    elif change == "rename":
        place[f"{key}s"] = place.pop(key)
    elif change == "add":
        place[key + "_too"] = data.draw(odd)
    else:
        place[key] = data.draw(odd)
    try:
        parsed = parse_run(values, "some/config.yaml")
    except UserError as error:
        text = one_screen(str(error))
        assert text.startswith("some/config.yaml: ") and key in text
    else:
        named_by_the_user = path[:-1] == ("benchmark", "splits", "evaluation")
        assert (change == "retype" or named_by_the_user) and isinstance(parsed, RunSettings)


@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_a_damaged_config_file_is_valid_or_the_error_names_it(
    values: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes cut off, overwritten or inserted, lines repeated: settings, or a message of one screen with the file."""
    content = yaml.safe_dump(values).encode()
    lines = content.splitlines(keepends=True)
    change = data.draw(st.sampled_from(["cut", "overwrite", "insert", "repeat"]))
    at = data.draw(st.integers(0, len(content) - 1))
    if change == "cut":
        content = content[:at]
    elif change == "repeat":
        number = data.draw(st.integers(0, len(lines) - 1))
        content = b"".join([*lines[: number + 1], *lines[number:]])
    else:
        piece = data.draw(st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(PIECES)))
        content = content[:at] + piece + content[at + (len(piece) if change == "overwrite" else 0) :]
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_config(path), RunSettings)
    except UserError as error:
        assert one_screen(str(error)).startswith(f"{path}: ")
    else:
        assert change != "repeat", "a key given twice, or an item of a list of distinct values"


PIECES = [
    b"\t",
    b"&a ",
    b"*a",
    b"!!python/object:os.system",
    b": ",
    b"- ",
    b"{",
    b"[",
    b"'",
    b"\x00",
    b"\xff",
    b"? ",
    b"<<: ",
]


@given(data=st.data())
@settings(max_examples=25)
def test_a_damaged_project_file_never_shows_hydras_insides(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A line taken out of, or a character changed in, any file that a run is composed of: composed, or a message of one
    screen that names a file, a key or the run."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", project / "configs")
    name = data.draw(
        st.sampled_from(["config", "experiment/test", "benchmark/alfworld_test", "model/test", "algorithm/hiper"])
    )
    path = project / "configs" / f"{name}.yaml"
    lines = path.read_text().splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    if data.draw(st.booleans()):
        del lines[number]
    else:
        at = data.draw(st.integers(0, len(lines[number])))
        lines[number] = (
            lines[number][:at] + data.draw(st.sampled_from([*":-?!&*{[#\t", "${x}", "??? "])) + lines[number][at:]
        )
    path.write_text("\n".join(lines))
    try:
        compose_run("test", RUN, project)
    except UserError as error:
        text = one_screen(str(error))
        assert str(project / "configs") in text or "configs/" in text or f"run {RUN} of experiment test" in text


SEPARATE = {"training__critic__backbone": "separate", "training__critic__detach": False}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"training__critic__warmup_iterations": 2}, ["training", "critic.warmup_iterations = 2", "never train"]),
        ({"training__critic__trunk_blocks": 1}, ["training.critic", "trunk_blocks = 1", "backbone: separate"]),
        ({"training__critic__trunk_blocks": 0}, ["trunk_blocks", "'all' or a whole number from 1", "detach: true"]),
        ({**SEPARATE, "training__critic__trunk_blocks": 2}, ["trunk_blocks = 2", "model.scratch.layers = 1"]),
        ({"warm_start__warmup_steps": 21}, ["warm_start", "warmup_steps = 21", "steps = 20"]),
        ({"model__scratch__heads": 3}, ["model.scratch", "hidden = 32", "heads = 3"]),
        ({"model__scratch__heads": 32}, ["hidden = 32", "even size"]),
        ({"model__scratch__hidden": 10**12}, ["model.scratch.hidden", "1048576"]),
        ({"evaluation__temperatures": [0.4, 0.4]}, ["evaluation.temperatures", "0.4 is listed twice"]),
        ({"evaluation__splits": ["seen", "seen"]}, ["evaluation.splits", "seen is listed twice"]),
        ({"benchmark__task_types": ["look_at_obj_in_light"] * 2}, ["benchmark.task_types", "listed twice"]),
        ({"benchmark__splits__evaluation": {"seen": "train"}}, ["benchmark.splits", "leaks training tasks"]),
        (
            {"benchmark__splits__evaluation": {"unseen": "valid_sen"}},
            ["benchmark.splits.evaluation.unseen", "did you mean 'valid_seen'"],
        ),
        ({"benchmark__data__generate__valid_unseen": 0}, ["data.generate.valid_unseen = 0", "'unseen' empty"]),
        ({"warm_start__held_out": 1.0}, ["warm_start.held_out = 1.0", "less than 1"]),
        ({"decoding__temperature": 0.0}, ["decoding.temperature = 0", "evaluation.temperatures"]),
        ({"decoding__max_text_tokens": 45}, ["decoding.max_response_tokens = 48 must be 54 at least"]),
        ({"training__kl": float("nan")}, ["training.kl = nan", "finite"]),
        ({"training__learning_rate": float("inf")}, ["training.learning_rate = inf", "finite"]),
        ({"training__epochs": True}, ["training.epochs = True", "integer"]),
        ({"training__gradient_clip": True}, ["training.gradient_clip = True", "number"]),
        ({"training__learning_rate": "1e-3"}, ["training.learning_rate = '1e-3'", "write 0.001 without quotes"]),
        ({"training": 3}, ["training = 3", "must be a section"]),
        ({"training__clip": 0.2}, ["training.clip: unknown setting", "did you mean"]),
        ({"algorithm__name": "hipper"}, ["algorithm.name: 'hipper'", "did you mean 'hiper'"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_contradiction_is_found_before_anything_runs(
    values: dict[str, Any], settings: dict[str, Any], wanted: list[str]
) -> None:
    """Settings that would waste a run, or do something else than they say, are refused with key, value and reason."""
    text = message(changed(values, **settings))
    assert all(part in text for part in wanted), text


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("warm_start__steps", "20", "write 20 without quotes"),
        ("warm_start__steps", "1_000", "write 1000 without quotes"),
        ("warm_start__steps", 20.0, "write 20"),
        ("warm_start__steps", 2.5, None),
        ("warm_start__steps", "1e-3", None),
        ("training__kl", "1e-5", "write 1.0e-05 without quotes"),
        ("training__kl", "nan", None),
        ("training__dual_clip", "None", "write null without quotes"),
        ("model__lora", "null", "write null without quotes"),
        ("algorithm__normalize", "yes", "write true without quotes"),
        ("algorithm__normalize", 0, "write false"),
        ("algorithm__penalties__keep_mode", None, "write 'none'"),
        ("evaluation__temperatures", 0.4, "write [0.4]"),
        ("evaluation__temperatures", "0.4, 1", "write [0.4, 1]"),
        ("evaluation__temperatures", ["0.4"], "write 0.4 without quotes"),
        ("evaluation__protocols", "exhaustive", "write [exhaustive]"),
        ("evaluation__protocols", "exhaustive, sampeld", None),
        ("benchmark__dataset", 12, "write '12'"),
    ],
)
def test_advice_about_notation_leads_to_no_further_error(
    values: dict[str, Any], tmp_path: Path, key: str, value: Any, advice: str | None
) -> None:
    """Whoever writes what the message says has a valid configuration; where nothing would do there is no advice."""
    text = message(changed(values, **{key: value}))
    found = re.search(r"write (.+?)( without quotes)?\)$", text)
    assert (found[0].removesuffix(")") if found else None) == advice, text
    if found:
        path = tmp_path / "config.yaml"
        path.write_text(f"a: {found[1]}")
        written = read_yaml(path)["a"]
        written = [written] if isinstance(value, list) else written
        parse_run(changed(values, **{key: written}), "config.yaml")


@given(data=st.data())
def test_a_notation_is_only_advised_where_it_helps(values: dict[str, Any], data: st.DataObject) -> None:
    """For any value anywhere: with the advised one in its place that problem is gone."""
    path = data.draw(st.sampled_from([path for path in paths(values) if not isinstance(reached(values, path), dict)]))
    value = data.draw(st.one_of(odd, st.integers().map(str), st.floats(allow_nan=False).map(str), st.just("[1, 2]")))
    try:
        parse_run(changed(values, **{"__".join(path): value}), "config.yaml")
    except UserError as error:
        found = re.search(r"write (.+?)( without quotes)?\)$", str(error), re.MULTILINE)
        if found:
            other = yaml.safe_load(found[1])
            with suppress(UserError):
                parse_run(changed(values, **{"__".join(path): other}), "config.yaml")
                return
            assert f"{'.'.join(path)} = " not in message(changed(values, **{"__".join(path): other}))


@pytest.mark.parametrize("text", ["None", "null", ""])
def test_a_word_for_nothing_is_no_path(values: dict[str, Any], text: str) -> None:
    """Where a path may be left out, null is written without quotes."""
    assert "model.path: " in (found := message(changed(values, model__path=text, model__scratch=None)))
    assert "write null, without quotes" in found


def test_a_format_nobody_is_told_of_is_refused(composed: dict[str, dict[str, Any]]) -> None:
    """Compact prompts show no format: without warm start and guidance no answer would ever have it."""
    paper = composed["paper"]
    assert "prompt.style 'compact'" in message(changed(paper, prompt__style="compact"))
    parse_run(changed(paper, prompt__style="compact", decoding__mode="guided"), "config.yaml")


def test_contradictions_are_reported_together(values: dict[str, Any]) -> None:
    """Two of them are two lines, not one after the other."""
    text = message(changed(values, algorithm__group_size=3, decoding__temperature=0.0))
    assert "algorithm.group_size" in text and "decoding.temperature" in text


def test_a_hundred_mistakes_fit_on_one_screen(values: dict[str, Any]) -> None:
    """The first are shown, the others counted."""
    text = message(changed(values, training={**values["training"], **{f"typo_{n}": n for n in range(100)}}))
    assert f"and {100 - SHOWN} more problems" in text


@pytest.mark.parametrize("part", ["benchmarks", "models", "algorithms", "seeds"])
def test_a_grid_lists_nothing_twice(part: str) -> None:
    """A run listed twice would be one run that counts as two in a reader's mind."""
    grid: dict[str, Any] = {"benchmarks": ["a"], "models": ["b"], "algorithms": ["c"], "seeds": [0]}
    with pytest.raises(UserError, match=f"{part}.*is listed twice"):
        parse_grid({**grid, part: grid[part] * 2}, "experiment.yaml")


LAUGHS = "\n".join(["a0: &a0 lol", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))])


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"seed: 0\ntraining: {}\nseed: 1\n", "line 3: 'seed' is given twice"),
        (b"a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: 'b' is given twice"),
        (b"a: &x 1\nb: *x\n", "line 1: anchors and aliases"),
        (LAUGHS.encode(), "anchors and aliases"),
        (b"a: &x {b: 1}\nc:\n  <<: *x\n", "anchors and aliases"),
        (b"a: !!python/object/apply:os.system ['true']\n", "line 1: could not determine a constructor"),
        (b"a: !!python/name:os.system\n", "line 1: could not determine a constructor"),
        (b"a:\n\tb: 1\n", "line 2: found character '\\t' that cannot start any token; indent with spaces"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8"),
        ("a: 1".encode("utf-16"), "not UTF-8"),
        (b"", "is empty"),
        (b"# nothing\n", "is empty"),
        (b"- a\n", "must be a mapping of settings"),
        (b"a: [1, 2\n", "line 2"),
        (b"a: 2024-13-45\n", "month must be in 1..12"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: ${oc.env:HF_TOKEN}\n", "line 1: a value from the environment would be published"),
        (b"a" * (LARGEST + 1), "too many for a configuration file"),
        (b"a: 1\nb: 010\n", "line 2: 010 is a number of another base"),
        (b"a: [1:30]\n", "line 1: 1:30 is a number of another base"),
    ],
    ids=range(20),
)
def test_what_yaml_forgives_is_an_error_with_its_line(tmp_path: Path, content: bytes, wanted: str) -> None:
    """Duplicate keys, expansion bombs, tags, tabs, encodings, empty files: file, line, reason; nothing is executed."""
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    text = one_screen(str(caught.value))
    assert text.startswith(f"{path}: ") and wanted in text


@pytest.mark.parametrize(
    ("file", "old", "new", "wanted"),
    [
        ("experiment/test", "  iterations: 2", "  iterations: 2\n  iterations: 3", "/test.yaml: not valid YAML, line"),
        ("config", "  kl: 0.01", "  kl: 0.01\n  kl: 0.02", "/config.yaml: not valid YAML, line"),
        ("engine/cuda", "threads: 4", "threads: 4\nthreads: 2", "engine/cuda.yaml: not valid YAML, line"),
        ("config", "  - model: qwen2.5_1.5b_instruct", "  - modle: tiny", "experiment/test.yaml: "),
        ("experiment/test", "iterations: 2", "iterations: ${nosuch}", "training.iterations"),
        ("experiment/test", "iterations: 2", "iterations: ???", "/test.yaml: not valid YAML, line"),
        ("experiment/test", "grid:", "grids:", "grid is missing"),
        ("experiment/test", "models: [test]", "models: [tset]", "did you mean 'test'"),
        ("experiment/test", "models: [test]", "modles: [test]", "did you mean 'models'"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_mistake_in_a_project_file_names_file_and_key(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    file: str, old: str, new: str, wanted: str,
) -> None:  # fmt: skip
    """Through the command line: status 2, one screen, nothing written."""
    path = project / "configs" / f"{file}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    monkeypatch.chdir(project)
    assert main(["compose", "test", RUN, "--output", "out/config.yaml"]) == 2
    shown = one_screen(capsys.readouterr().err)
    assert wanted in shown, shown
    assert not (project / "out").exists()


def test_a_misspelt_override_in_defaults_names_the_experiment(project: Path) -> None:
    """Hydra's own error goes on about its search path; ours names the file."""
    path = project / "configs" / "experiment" / "paper.yaml"
    path.write_text(path.read_text().replace("override /engine", "override /engnie"))
    with pytest.raises(UserError, match=r"experiment/paper\.yaml, defaults: .*engnie.*'engine'") as caught:
        compose_run("paper", CELLS["paper"], project)
    one_screen(str(caught.value))


def test_a_misspelt_experiment_is_answered_with_the_nearest() -> None:
    """One letter off."""
    with pytest.raises(UserError, match="did you mean 'demo'"):
        load_grid("dmeo", ROOT)


def test_the_traceback_is_shown_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HIPER_TRACEBACK=1 shows where a mistake was found, before the message; `hiper --help` says so."""
    command = ["compose", "nosuch", RUN, "--output", str(tmp_path / "x.yaml")]
    monkeypatch.chdir(ROOT)
    assert main(command) == 2
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("HIPER_TRACEBACK", "1")
    assert main(command) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.splitlines()[-1].startswith("hiper: experiment 'nosuch'")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "HIPER_TRACEBACK=1" in capsys.readouterr().out
