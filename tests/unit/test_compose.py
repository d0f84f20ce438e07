"""Composition: names, files, digests."""

from __future__ import annotations

import codecs
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiper import plugins
from hiper.algorithms import ppo_turn
from hiper.algorithms.registry import ALGORITHMS
from hiper.compose import (
    RunName,
    available,
    compose_run,
    config_text,
    load_benchmark,
    load_grid,
    read_config,
    run_names,
    write_config,
)
from hiper.config import RunSettings, parse_run
from hiper.declarations import STAGES
from hiper.digests import benchmark_digest, config_digest, stage_digest
from hiper.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "alfworld_test-test-hiper-seed0"


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    return compose_run("test", RUN, ROOT)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the configuration that a test may damage."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.", min_size=1)


@given(names, names, names, st.integers(0, 10**6))
def test_a_run_name_is_read_back_as_it_was_written(benchmark: str, model: str, algorithm: str, seed: int) -> None:
    """Parsing inverts formatting for every name that the file names of configs/ allow."""
    name = RunName(benchmark, model, algorithm, seed)
    assert RunName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", "a-b-c", "a-b-c-seed", "a-b-c-seed-1", "A-b-c-seed1", "a-b-c-d-seed1", "a/-b-c-seed1"]
)
def test_a_malformed_run_name_says_how_names_are_made(text: str) -> None:
    """The message shows the pattern."""
    with pytest.raises(UserError, match="<benchmark>-<model>-<algorithm>-seed<n>"):
        RunName.parse(text)


def test_the_grid_is_the_product_of_its_lists() -> None:
    """The paper's grid: 2 benchmarks × 2 models × 11 algorithms × 3 seeds = 132 runs, none twice."""
    runs = run_names(load_grid("paper", ROOT))
    assert len(runs) == len(set(runs)) == 132


@pytest.mark.parametrize(
    ("experiment", "run", "wanted"),
    [
        ("nosuch", RUN, ["experiment 'nosuch'", "demo", "paper"]),
        ("test", "nosuch-test-hiper-seed0", ["benchmark 'nosuch'", "alfworld_small"]),
        ("test", "alfworld_test-nosuch-hiper-seed0", ["model 'nosuch'", "tiny"]),
        ("test", "alfworld_test-test-nosuch-seed0", ["algorithm 'nosuch'", "ppo_turn"]),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(experiment: str, run: str, wanted: list[str]) -> None:
    """A misspelt name lists the files there are."""
    with pytest.raises(UserError) as caught:
        compose_run(experiment, run, ROOT)
    assert all(part in str(caught.value) for part in wanted)


def test_an_unknown_key_in_a_file_names_key_value_and_run(project: Path) -> None:
    """A misspelt setting in an experiment file is an error, not an ignored line."""
    edit(project / "configs/experiment/test.yaml", "iterations: 2", "iteratons: 2")
    told = r"(?s)experiment/test\.yaml, with benchmark alfworld_test.*training\.iteratons: unknown setting \(value 2\)"
    with pytest.raises(UserError, match=told):
        compose_run("test", RUN, project)


@pytest.mark.parametrize("file", ["model/test.yaml", "benchmark/alfworld_test.yaml"])
def test_a_mistake_in_the_file_of_a_model_or_benchmark_names_that_file(project: Path, file: str) -> None:
    """And not the experiment's, where nobody would find it."""
    path = project / "configs" / file
    path.write_text(f"{path.read_text()}nmae: x\n")
    with pytest.raises(UserError, match=rf"^{path}: invalid configuration\s+nmae: unknown setting .*'name'"):
        compose_run("test", RUN, project)


def test_an_unknown_token_loss_is_answered_with_the_known_ones(project: Path) -> None:
    """When a run is composed: before the first job, not when training comes to it."""
    edit(project / "configs/experiment/test.yaml", "  iterations: 2", "  loss: cispoo\n  iterations: 2")
    with pytest.raises(UserError, match=r"training\.loss = 'cispoo'.*did you mean 'cispo'"):
        compose_run("test", RUN, project)


def test_an_unknown_read_out_is_answered_before_the_first_job(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a run is composed, with the algorithm whose head wants it."""
    flat = replace(ALGORITHMS["ppo_turn"], heads=lambda settings: {"state": "promt"})
    monkeypatch.setattr(ppo_turn, "ALGORITHM", flat)
    plugins.load.cache_clear()
    wanted = r"algorithm ppo_turn: a value head reads at 'promt'.*which has: after_subgoal.*did you mean 'prompt'"
    try:
        with pytest.raises(UserError, match=wanted):
            compose_run("test", RUN.replace("hiper", "ppo_turn"), project)
    finally:
        plugins.load.cache_clear()


def test_a_grid_that_names_a_missing_file_is_an_error(project: Path) -> None:
    """The grid is checked before any run is composed."""
    edit(project / "configs/experiment/test.yaml", "models: [test]", "models: [tets]")
    with pytest.raises(UserError, match="model 'tets' is unknown"):
        load_grid("test", project)


def test_copies_of_a_file_manager_are_no_configurations(project: Path) -> None:
    """Whatever is in them; the names that are offered are those of files that somebody wrote."""
    before, composed = available("experiment", project), compose_run("test", RUN, project)
    for name in (
        "demo (copy).yaml",
        "._demo.yaml",
        "demo.yaml~",
        "Copy of demo.yaml",
        "demo copy 2.yaml",
        "demo (1).yaml",
    ):
        (project / "configs" / "experiment" / name).write_bytes(b"\0\5\x16\7")
    assert available("experiment", project) == before
    assert compose_run("test", RUN, project) == composed


@pytest.mark.parametrize("name", ["warmstart", "my-algorithm", "Mine"])
def test_a_file_whose_name_no_run_can_have_is_refused(project: Path, name: str) -> None:
    """A run of `warmstart` would be the warm start itself, which trains nothing."""
    shutil.copy(project / "configs/algorithm/hiper.yaml", project / f"configs/algorithm/{name}.yaml")
    edit(project / "configs/experiment/test.yaml", "ppo_turn]", f"{name}]")
    with pytest.raises(UserError, match=rf"algorithm/{name}\.yaml: its name becomes .*; rename the file"):
        load_grid("test", project)


def test_broken_yaml_is_a_users_mistake(project: Path) -> None:
    """A syntax error names the file."""
    (project / "configs/experiment/test.yaml").write_text("grid: [")
    with pytest.raises(UserError, match=r"experiment/test\.yaml: not valid YAML"):
        load_grid("test", project)


def test_settings_for_one_benchmark_do_not_reach_the_others(project: Path) -> None:
    """`by_benchmark` goes over all other files, for the runs of its benchmark alone; sections merge, lists do not."""
    with (project / "configs" / "experiment" / "test.yaml").open("a") as file:
        file.write("\nby_benchmark:\n  webshop_test:\n    prompt: {max_tokens: 555}\n")
        file.write("    evaluation: {temperatures: [0.1]}\n")
    runs = [compose_run("test", f"{name}-test-hiper-seed0", project) for name in ("alfworld_test", "webshop_test")]
    assert [run.prompt.max_tokens for run in runs] == [600, 555]
    assert [run.evaluation.temperatures for run in runs] == [[0.4], [0.1]]
    assert runs[0].prompt.style == runs[1].prompt.style == "compact"


def test_settings_for_one_model_go_over_those_for_its_benchmark(project: Path) -> None:
    """`by_model` reaches the runs of its model alone, on every benchmark, and wins over `by_benchmark`."""
    with (project / "configs" / "experiment" / "test.yaml").open("a") as file:
        file.write("\nby_model:\n  tiny: {prompt: {max_tokens: 777}, evaluation: {batch: 3}}\n")
        file.write("by_benchmark:\n  webshop_test: {prompt: {max_tokens: 555, history_length: 1}}\n")
    cells = [("alfworld_test", "test"), ("alfworld_test", "tiny"), ("webshop_test", "test"), ("webshop_test", "tiny")]
    runs = [compose_run("test", f"{benchmark}-{model}-hiper-seed0", project) for benchmark, model in cells]
    assert [run.prompt.max_tokens for run in runs] == [600, 777, 555, 777]
    assert [run.prompt.history_length for run in runs[2:]] == [1, 1]
    assert [run.evaluation.batch for run in runs] == [12, 3, 12, 3]


def test_settings_for_one_algorithm_go_over_all_others_and_leave_its_warm_start_alone(project: Path) -> None:
    """`by_algorithm` reaches the runs of its algorithm alone; nested in `by_benchmark` those of one cell."""
    with (project / "configs" / "experiment" / "test.yaml").open("a") as file:
        file.write("\nby_algorithm:\n  hiper: {algorithm: {gamma: 0.7}, training: {iterations: 5}}\n")
        file.write("by_model:\n  test: {algorithm: {gamma: 0.8}, training: {epochs: 2}}\n")
        file.write("by_benchmark:\n  webshop_test: {by_algorithm: {ppo_turn: {algorithm: {gamma: 0.6}}}}\n")
    cells = [("alfworld_test", "hiper"), ("alfworld_test", "ppo_turn"), ("webshop_test", "ppo_turn")]
    cells.append(("alfworld_test", "warmstart"))
    runs = [compose_run("test", f"{benchmark}-test-{algorithm}-seed0", project) for benchmark, algorithm in cells]
    assert [run.algorithm.gamma for run in runs] == [0.7, 0.8, 0.6, 0.8]
    assert [run.training.iterations for run in runs] == [5, 2, 2, 2]
    assert {run.training.epochs for run in runs} == {2}


@pytest.mark.parametrize(
    "key",
    ["warm_start.steps", "prompt.history_length", "model.scratch.hidden", "engine.dtype", "training.gradient_clip"],
)
def test_what_algorithms_share_is_not_set_for_one_of_them(project: Path, key: str) -> None:
    """Their warm start would be another's."""
    first, *inner, last = key.split(".")
    text = f"{first}: " + "".join(f"{{{part}: " for part in (*inner, last)) + "1" + "}" * (len(inner) + 1)
    with (project / "configs" / "experiment" / "test.yaml").open("a") as file:
        file.write(f"\nby_algorithm: {{hiper: {{{text}}}}}\n")
    with pytest.raises(UserError, match=rf"test\.yaml, by_algorithm\.hiper\.{key}: the algorithms .* share"):
        compose_run("test", "alfworld_test-test-ppo_turn-seed0", project)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("by_algorithm: {hipr: {}}", r"by_algorithm: no algorithm is called 'hipr'; did you mean 'hiper'"),
        ("by_algorithm: {hiper: {by_model: {test: {}}}}", r"by_algorithm\.hiper\.by_model: .* not around it"),
        ("by_model: {tset: {}}", r"by_model: no model is called 'tset'; did you mean 'test'"),
        ("by_model: [test]", "by_model: must map a model's name to sections"),
        ("by_benchmark: {webshop_tset: {}}", r"no benchmark is called 'webshop_tset'; did you mean 'webshop_test'"),
        ("by_benchmark: [webshop_test]", "must map a benchmark's name to sections"),
        ("by_benchmark: {webshop_test: {prompt: {max_tokns: 1}}}", r"prompt\.max_tokns: unknown setting.*'max_tokens'"),
    ],
)
def test_a_mistake_in_settings_for_one_benchmark_or_model_is_named(project: Path, text: str, wanted: str) -> None:
    """A name outside the grid, a list, an unknown key."""
    with (project / "configs" / "experiment" / "test.yaml").open("a") as file:
        file.write(f"\n{text}\n")
    with pytest.raises(UserError, match=wanted):
        compose_run("test", "webshop_test-test-hiper-seed0", project)


def test_inherited_settings_for_other_benchmarks_are_no_mistake() -> None:
    """`webshop_real` begins from the demo, which has settings for benchmarks of its own."""
    run = compose_run("webshop_real", "webshop-tiny-hiper-seed0", ROOT)
    assert run.model.scratch is not None and run.model.scratch.vocabulary == 6000


def test_the_paper_runs_webshop_as_it_was_logged() -> None:
    """15 turns, prompts of 4,096 tokens, a keep penalty of −3.5 normalised; ALFWorld's settings stay as they are."""
    webshop, alfworld = (
        compose_run("paper", f"{name}-qwen2.5_1.5b_instruct-hiper-seed0", ROOT) for name in ("webshop", "alfworld")
    )
    assert (webshop.benchmark.max_turns, webshop.prompt.max_tokens) == (15, 4096)
    assert (webshop.algorithm.penalties.keep, webshop.algorithm.penalties.keep_mode) == (-3.5, "normalized")
    assert (alfworld.benchmark.max_turns, alfworld.prompt.max_tokens) == (50, 2048)
    assert alfworld.algorithm.penalties.keep == -0.3


def test_an_experiment_may_not_alter_shared_games(project: Path) -> None:
    """data/<benchmark> serves every experiment, so only the benchmark's own file says what is in it."""
    edit(project / "configs/experiment/test.yaml", "  success_reward: 1.0", "  data: {generate: {train: 10}}")
    with pytest.raises(UserError, match=r"overrides benchmark\.data"):
        compose_run("test", RUN, project)


def test_a_configuration_is_read_back_as_it_was_written(settings: RunSettings, tmp_path: Path) -> None:
    """YAML keeps every value and type, also small floats such as 1e-6."""
    small = settings.model_copy(update={"training": settings.training.model_copy(update={"learning_rate": 1e-6})})
    write_config(small, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == small


# What every algorithm had before each had its own.
EARLIER: dict[str, Any] = {
    "gamma": 0.9,
    "lam_turn": 0.9,
    "lam_seg": 0.9,
    "switch_advantage": "none",
    "bootstrap_truncated": False,
    "penalties": {
        "keep": 0.0,
        "keep_mode": "normalized",
        "keep_skip_first": False,
        "consistency": 0.0,
        "consistency_requires_both": True,
        "switch_floor": 0.0,
        "switch_floor_rate": 0.25,
    },
    "group": {
        "mode": "mean_std_norm",
        "cross_steps": False,
        "lone_return": False,
        "omega": 1.0,
        "history_length": 2,
        "alpha": 1.0,
        "base_group": False,
    },
}


def test_a_configuration_of_an_earlier_version_means_what_that_did(settings: RunSettings, tmp_path: Path) -> None:
    """Results that somebody has are not to be edited by hand: settings that have come since are filled in, those that
    an algorithm had and never read fall out. A name that none has, or a section of another kind, is still a mistake."""
    for name in ("hiper", "ppo", "vetta", "graphhca"):
        own = compose_run("test", f"alfworld_test-test-{name}-seed0", ROOT)
        section = own.algorithm.model_dump()
        before = EARLIER | section | {key: EARLIER[key] | section.get(key, {}) for key in ("penalties", "group")}
        before["group"].pop("potential_floor", None)
        before = {
            key: value for key, value in before.items() if key not in ("lam_boundary", "target_lambda", "token_weight")
        }
        values = own.model_dump(mode="json") | {"algorithm": before}
        values["training"].pop("loss")
        for key in ("trunk_blocks", "gate", "pretraining", "loss", "bins", "bins_low", "bins_high", "bins_sigma"):
            values["training"]["critic"].pop(key)
        (tmp_path / "config.yaml").write_text(config_text(values), encoding="utf-8")
        assert read_config(tmp_path / "config.yaml") == own
    (tmp_path / "config.yaml").write_text(config_text({**values, "algorithm": {**before, "gama": 1.0}}))
    with pytest.raises(UserError, match=r"algorithm\.gama: unknown setting.*'gamma'"):
        read_config(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("algorithm: grpo", encoding="utf-8")
    with pytest.raises(UserError, match="must be a section"):
        read_config(tmp_path / "config.yaml")


def test_an_unchanged_configuration_keeps_its_time_stamp(settings: RunSettings, tmp_path: Path) -> None:
    """Writing the same settings again leaves the file alone; other settings replace it."""
    path = tmp_path / "config.yaml"
    assert write_config(settings, path)
    before = path.stat().st_mtime_ns
    assert not write_config(settings, path)
    assert path.stat().st_mtime_ns == before
    assert write_config(settings.model_copy(update={"seed": 5}), path)


def test_composing_leaves_no_global_state_or_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra makes no output folder and stays uninitialised, so that composition can be repeated anywhere."""
    from hydra.core.global_hydra import GlobalHydra

    monkeypatch.chdir(project)
    assert compose_run("test", RUN, project) == compose_run("test", RUN, project)
    assert not GlobalHydra.instance().is_initialized()
    assert [path.name for path in project.iterdir()] == ["configs"]


@pytest.mark.parametrize(
    ("key", "value", "affected"),
    [
        ("benchmark.data.generate.seed", 9, {"data", "demonstrations", "train", "evaluate", "variance"}),
        ("benchmark.max_turns", 7, {"demonstrations", "train", "evaluate", "variance"}),
        ("demonstrations.hesitation", 0.5, {"demonstrations", "train"}),
        ("demonstrations.tasks", 30, {"demonstrations", "train", "variance"}),
        ("prompt.history_length", 1, {"demonstrations", "tokenizer", "warmstart", "train", "evaluate", "variance"}),
        ("model.scratch.hidden", 64, {"tokenizer", "warmstart", "train", "evaluate", "variance"}),
        ("warm_start.steps", 21, {"warmstart", "train"}),
        ("training.gradient_clip", 0.5, {"warmstart", "train", "variance"}),
        ("training.critic.epochs", 2, {"train", "variance"}),
        ("training.iterations", 3, {"train"}),
        ("algorithm.gamma", 0.5, {"train", "variance"}),
        ("engine.dtype", "bfloat16", {"warmstart", "train", "evaluate", "variance"}),
        ("seed", 4, {"warmstart", "train", "evaluate", "variance"}),
        ("evaluation.temperatures", [0.0], {"evaluate"}),
        ("rollout.keep_prefixes", True, {"train", "evaluate"}),
        ("rollout.dtype", "bfloat16", {"train", "evaluate"}),
        ("variance.batches", 5, {"variance"}),
        ("tracking.live", False, set()),
        ("experiment", "other", set()),
    ],
)
def test_a_setting_changes_the_digests_of_the_stages_that_read_it(
    settings: RunSettings, key: str, value: Any, affected: set[str]
) -> None:
    """No more stages than those, so that nothing is run again for nothing; the whole configuration's digest changes."""
    values = settings.model_dump(mode="json")
    *path, last = key.split(".")
    section = values
    for part in path:
        section = section[part]
    assert section[last] != value
    section[last] = value
    other = parse_run(values, "test")
    different = {stage for stage in STAGES if stage_digest(settings, stage) != stage_digest(other, stage)}
    assert different == affected
    assert config_digest(settings) != config_digest(other)


def test_the_warm_start_does_not_depend_on_the_algorithm() -> None:
    """One warm start serves all algorithms of a benchmark, model and seed."""
    first, second = (compose_run("test", f"alfworld_test-test-{name}-seed0", ROOT) for name in ("hiper", "ppo_turn"))
    assert stage_digest(first, "warmstart") == stage_digest(second, "warmstart")
    assert stage_digest(first, "evaluate") == stage_digest(second, "evaluate")
    assert stage_digest(first, "train") != stage_digest(second, "train")


def test_a_benchmark_file_alone_has_the_digest_of_its_games(settings: RunSettings) -> None:
    """The rule that makes games needs no run to know what they depend on."""
    own = load_benchmark(ROOT / "configs/benchmark/alfworld_test.yaml")
    assert benchmark_digest(own) == stage_digest(settings, "data")


HEADER = b"# @package _global_\n"
DECORATIONS: dict[str, Callable[[bytes], bytes]] = {
    "header": lambda text: HEADER + text,
    "comment above": lambda text: b"# mine\n\n" + HEADER + text,
    "document start": lambda text: b"---\n" + HEADER + text,
    "header last": lambda text: text + b"\n" + HEADER,
    "byte order mark": lambda text: codecs.BOM_UTF8 + text,
    "mark and header": lambda text: codecs.BOM_UTF8 + HEADER + text,
    "Windows": lambda text: text.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("name", DECORATIONS)
def test_what_an_experiment_file_begins_with_changes_nothing(project: Path, name: str) -> None:
    """A header anywhere or nowhere, comments, `---`, a byte order mark, ends of lines: in the file and the inherited
    one."""
    run = "alfworld_small-tiny-hiper-seed0"
    for experiment in ("small", "demo"):
        path = project / "configs" / "experiment" / f"{experiment}.yaml"
        path.write_bytes(DECORATIONS[name](path.read_bytes()))
    assert compose_run("small", run, project) == compose_run("small", run, ROOT)


@pytest.mark.parametrize("experiment", available("experiment", ROOT))
def test_every_experiment_is_the_same_with_all_of_it(project: Path, experiment: str) -> None:
    """Every file of `configs/` with a mark, a comment, `---` and other ends of lines; the experiments with a header."""
    for path in (project / "configs").rglob("*.yaml"):
        header = HEADER if path.parent.name == "experiment" else b""
        path.write_bytes(codecs.BOM_UTF8 + b"# mine\r\n---\r\n" + header + path.read_bytes().replace(b"\n", b"\r\n"))
    run = str(run_names(load_grid(experiment, ROOT))[-1])
    assert config_digest(compose_run(experiment, run, project)) == config_digest(compose_run(experiment, run, ROOT))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# @package training\n", r"mine\.yaml, line 1: @package training: .*remove the line"),
        ("defaults: [_self_, demo]\n", "demo comes after _self_, .* put _self_ last"),
        ("defaults: [demo, optional small, _self_]\n", "'optional small': must be the names of files"),
        ("defaults: [demo@training, _self_]\n", "'demo@training': must be the names of files"),
        ("defaults: [/experiment: demo]\n", "`/experiment: demo` is none of the files"),
        ("defaults: [override /algorithm: ppo]\n", "`override /algorithm` has no effect, the grid chooses"),
        ("defaults: [override /engine: gpu]\n", "mine.yaml, defaults: engine 'gpu' is unknown; did you mean 'cpu'"),
        ("defaults: [override hydra/output: x]\n", "is none of the files"),
        ("defaults: [override engine: cuda]\n", "`override engine: cuda` is none of .* or `override /engine: NAME`"),
        ("defaults: [override /engine: cpu, override /engine: cuda]\n", "engine cpu and cuda are chosen, .* one line"),
        ("defaults: [on_cpu, on_cuda]\n", "mine.yaml, defaults: engine cpu and cuda are chosen"),
        ("defaults: [dmeo]\n", "mine.yaml, defaults: experiment 'dmeo' is unknown; did you mean 'demo'"),
        ("defaults: [mine]\n", "inherits itself, by way of mine"),
        ("defaults: demo\n", "defaults = 'demo': must be a list"),
        ("hydra: {verbose: true}\n", "hydra: nothing reads"),
        ("seed: 7\n", "seed: has no effect here, the grid's lists"),
        ("experiment: demo\n", "experiment: has no effect here"),
        ("algorithm: {name: ppo}\n", r"algorithm\.name: every algorithm of the grid would be this one"),
        ("by_model: {test: {grid: {seeds: [1]}}}\n", r"by_model\.test\.grid: has no effect here"),
        ("by_benchmark: {webshop_test: {model: {name: x}}}\n", r"by_benchmark\.webshop_test\.model\.name: every model"),
    ],
)
def test_what_would_land_nowhere_is_an_error_with_the_files_name(project: Path, text: str, wanted: str) -> None:
    """Hydra takes all of these without a word, or speaks of something else."""
    grid = "grid: {benchmarks: [alfworld_test], models: [test], algorithms: [hiper], seeds: [0]}\n"
    for engine in ("cpu", "cuda"):
        (project / f"configs/experiment/on_{engine}.yaml").write_text(f"defaults: [override /engine: {engine}]\n")
    (project / "configs" / "experiment" / "mine.yaml").write_text(text + grid)
    with pytest.raises(UserError, match=wanted) as caught:
        compose_run("mine", RUN, project)
    assert "experiment/mine.yaml" in str(caught.value)


def test_the_same_holds_for_inherited_files_and_those_of_other_groups(project: Path) -> None:
    """Their errors name them, not the file that inherits them."""
    edit(project / "configs/experiment/demo.yaml", "seeds: [0, 1]", "seeds: [0, 1]\nseed: 3")
    edit(project / "configs/algorithm/gigpo.yaml", "  - grpo\n  - _self_", "  - _self_\n  - grpo")
    with pytest.raises(UserError, match=r"experiment/demo\.yaml, seed"):
        compose_run("small", "alfworld_small-tiny-hiper-seed0", project)
    with pytest.raises(UserError, match=r"algorithm/gigpo\.yaml, defaults: grpo comes after _self_"):
        compose_run("test", "alfworld_test-test-graphhca-seed0", project)


def test_a_file_with_another_ending_is_not_passed_over(project: Path) -> None:
    """`mine.yml` is answered with the name it needs."""
    shutil.copy(project / "configs/experiment/test.yaml", project / "configs/experiment/mine.yml")
    with pytest.raises(UserError, match=r"experiment/mine\.yml: is not read; call it mine\.yaml"):
        load_grid("mine", project)


def test_an_interpolation_stands_for_what_the_run_has_in_the_end(project: Path) -> None:
    """Also where the setting it names is another for its benchmark; a variable of the environment stays as written."""
    edit(
        project / "configs/experiment/test.yaml",
        "final_learning_rate: 3.0e-5",
        "final_learning_rate: ${.learning_rate}",
    )
    with (project / "configs/experiment/test.yaml").open("a") as file:
        file.write("\nby_benchmark: {alfworld_test: {training: {learning_rate: 0.5}}}\n")
        file.write('by_model: {test: {model: {path: "${SCRATCH}/$USER/qwen", scratch: null}}}\n')
    settings = compose_run("test", RUN, project)
    assert (settings.training.learning_rate, settings.training.final_learning_rate) == (0.5, 0.5)
    assert settings.model.path == "${SCRATCH}/$USER/qwen"
