"""Every file in `configs/` is valid (experiments: test_grids.py); a mistake is answered with key and value."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hiper.compose import available, compose_run, load_benchmark
from hiper.config import RunSettings, parse_grid, parse_run
from hiper.errors import UserError
from hiper.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    """A valid configuration as plain values."""
    return compose_run("test", "alfworld_test-test-hiper-seed0", ROOT).model_dump(mode="json")


def changed(values: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of `values` with one setting replaced."""
    key, _, rest = dotted.partition(".")
    return {**values, key: changed(values[key], rest, value) if rest else value}


def test_every_group_file_is_reached_by_some_composition() -> None:
    """Every benchmark with every model, and every algorithm with `demo` and with `paper`, whose models are
    pretrained."""
    cells = list(product(available("benchmark", ROOT), available("model", ROOT), ["hiper"]))
    places = [("alfworld_small", "tiny"), ("webshop", "qwen2.5_1.5b_instruct")]
    cells += [(*place, algorithm) for place in places for algorithm in available("algorithm", ROOT)]
    cells.remove(("webshop", "qwen2.5_1.5b_instruct", "archer"))  # which vLLM and DeepSpeed, `paper`'s, cannot play
    for benchmark, model, algorithm in cells:
        experiment = {"tiny": "demo", "test": "demo", "smollm2_135m": "smollm"}.get(model, "paper")
        if algorithm == "grpo_himac":  # of another interface
            experiment = "himac"
        settings = compose_run(experiment, f"{benchmark}-{model}-{algorithm}-seed3", ROOT)
        # a variant is called like its algorithm and what is different: hiper_no_norm
        assert algorithm.startswith(settings.algorithm.name)
        assert (settings.model.name, settings.seed) == (model, 3)


@pytest.mark.parametrize("name", available("engine", ROOT))
def test_every_engine_file_is_valid_for_the_published_settings(name: str) -> None:
    """A run of the paper's may be given each of them in place of its own."""
    values = compose_run("paper", "webshop-qwen2.5_1.5b_instruct-gigpo-seed0", ROOT).model_dump()
    engine = read_yaml(ROOT / "configs" / "engine" / f"{name}.yaml")
    assert parse_run({**values, "engine": engine}, name).engine.model_dump() == engine


@pytest.mark.parametrize("benchmark", available("benchmark", ROOT))
def test_a_data_set_is_named_like_its_benchmark_file(benchmark: str) -> None:
    """The workflow finds the games of `configs/benchmark/<name>.yaml` in `data/<name>`."""
    assert load_benchmark(ROOT / "configs" / "benchmark" / f"{benchmark}.yaml").dataset == benchmark


def test_an_experiment_file_wins_over_every_group() -> None:
    """`demo` overrides a value of the algorithm's file; the defaults of config.yaml are the released code's."""
    demo = compose_run("demo", "alfworld_small-tiny-hiper-seed0", ROOT)
    paper = compose_run("paper", "alfworld-qwen2.5_1.5b_instruct-hiper-seed0", ROOT)
    assert (demo.algorithm.penalties.keep, paper.algorithm.penalties.keep) == (0.0, -0.3)
    assert (paper.training.learning_rate, paper.training.critic.learning_rate) == (1e-6, 1e-5)
    assert (paper.training.kl, paper.training.dual_clip, paper.algorithm.lam_seg) == (0.01, 3.0, 0.95)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("training.episodess", 8, ["training.episodess", "unknown setting", "8"]),
        ("gamma", 0.9, ["gamma: unknown setting", "did you mean algorithm.gamma?"]),
        ("by_algoritm", {"ppo": {}}, ["by_algoritm: unknown setting", "did you mean 'by_algorithm'?"]),
        ("training.backbone", "own", ["training.backbone: unknown setting", "did you mean training.critic.backbone?"]),
        ("training.episodes", "many", ["training.episodes", "'many'", "integer"]),
        ("training.episodes", 2.5, ["training.episodes", "2.5", "integer"]),
        ("training.clip_low", -0.2, ["training.clip_low", "-0.2", "greater than 0"]),
        ("algorithm.gamma", 1.5, ["algorithm.gamma", "1.5", "less than or equal to 1"]),
        ("algorithm.lam_boundary", 1.5, ["algorithm.lam_boundary: 1.5", "'auto' or a number from 0 to 1"]),
        ("algorithm.lam_boundary", "atuo", ["algorithm.lam_boundary: 'atuo'", "'auto' or a number from 0 to 1"]),
        ("algorithm.switch_advantage", "papper", ["algorithm.switch_advantage", "'papper'", "'paper'", "'return'"]),
        ("benchmark.task_types", [], ["benchmark.task_types", "[]", "at least 1"]),
        ("training.dual_clip", 1.0, ["training.dual_clip", "1.0", "greater than 1"]),
        ("model.scratch", None, ["model", "exactly one of model.path", "model.scratch"]),
        ("warm_start.method", "none", ["warm_start.method", "pretrained"]),
        ("decoding.max_text_tokens", 48, ["max_text_tokens = 48", "max_response_tokens = 48 must be 57"]),
        ("algorithm.group_size", 3, ["training.episodes", "multiple", "algorithm.group_size"]),
        ("algorithm.name", "grpo", ["algorithm.group_size = 1", "grpo", "differences", "2 at least"]),
        (
            "algorithm.name",
            "grpo",
            [
                "algorithm.lam_turn: unknown setting",
                "algorithm.penalties.keep",
                "group: missing; add it to configs/algorithm/grpo.yaml",
            ],
        ),
        ("algorithm.name", "hipper", ["algorithm.name: 'hipper'", "hiper_potentials", "did you mean 'hiper'"]),
        ("algorithm.penalties.kep", -0.1, ["algorithm.penalties.kep: unknown setting", "did you mean 'keep'"]),
        ("prompt.interface", "react", ["plan_execute"]),
        ("evaluation.protocols", ["all"], ["evaluation.protocols", "'all'", "'sampled'", "'exhaustive'"]),
        ("training.validation.tasks", 0, ["evaluation.checkpoints", "training.validation.tasks"]),
    ],
)
def test_a_wrong_setting_is_explained(values: dict[str, Any], key: str, value: Any, wanted: list[str]) -> None:
    """The error names the source, the key, the value and what is allowed."""
    with pytest.raises(UserError) as caught:
        parse_run(changed(values, key, value), "config.yaml")
    for part in ("config.yaml", *wanted):
        assert part in str(caught.value)


def test_a_setting_of_a_group_baseline_is_explained() -> None:
    """By the model of the algorithm that is named: HiPER has no group."""
    values = compose_run("demo", "alfworld_small-tiny-grpo-seed0", ROOT).model_dump()
    with pytest.raises(UserError, match=r"algorithm\.group\.mode = 'std'.*'mean_norm' or 'mean_std_norm'"):
        parse_run(changed(values, "algorithm.group.mode", "std"), "config.yaml")


def test_a_hierarchy_without_a_critic_says_what_it_cannot_do() -> None:
    """HiPER's levels need its prompt, whatever they learn from; the paper's switch advantage needs values."""
    values = compose_run("demo", "alfworld_small-tiny-hiper_potentials-seed0", ROOT).model_dump()
    for key, value in (("prompt.interface", "react"), ("algorithm.switch_advantage", "paper")):
        with pytest.raises(UserError, match=f"hiper_potentials.*{'plan_execute' if value == 'react' else 'return'}"):
            parse_run(changed(values, key, value), "config.yaml")


def test_a_missing_setting_is_an_error(values: dict[str, Any]) -> None:
    """There is no default in the code that could take the place of a setting left out."""
    training = {key: value for key, value in values["training"].items() if key != "kl"}
    with pytest.raises(UserError, match=r"training\.kl: missing"):
        parse_run({**values, "training": training}, "config.yaml")


def test_all_mistakes_are_reported_at_once(values: dict[str, Any]) -> None:
    """Two wrong settings give two lines, not one after the other."""
    wrong = changed(changed(values, "training.epochs", 0), "seed", -1)
    with pytest.raises(UserError) as caught:
        parse_run(wrong, "config.yaml")
    assert "training.epochs = 0" in str(caught.value) and "seed = -1" in str(caught.value)


def test_settings_are_frozen(values: dict[str, Any]) -> None:
    """Nothing can change a run's configuration while it runs."""
    with pytest.raises(Exception, match="frozen"):
        RunSettings.model_validate(values).seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("part", ["benchmarks", "models", "algorithms", "seeds"])
def test_an_empty_grid_is_an_error(part: str) -> None:
    """Each list of a grid needs an entry."""
    grid = {"benchmarks": ["a"], "models": ["b"], "algorithms": ["c"], "seeds": [0]}
    with pytest.raises(UserError, match=part):
        parse_grid({**grid, part: []}, "experiment.yaml")
