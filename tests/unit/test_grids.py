"""An experiment as a whole: its arms differ, and its settings do something."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT

from hiper.compose import available, compose_run
from hiper.errors import UserError
from hiper.grids import compose_grid


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the configuration with a variant of HiPER, for experiments of a test's own."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (tmp_path / "configs/algorithm/hiper_90.yaml").write_text("defaults: [hiper, _self_]\ngamma: 0.9\n")
    return tmp_path


def mine(project: Path, algorithms: str, text: str = "", models: str = "tiny") -> str:
    grid = f"{{benchmarks: [alfworld_small], models: [{models}], algorithms: [{algorithms}], seeds: [0, 1]}}"
    path = project / "configs/experiment/mine.yaml"
    path.write_text(f"defaults: [demo, _self_]\ngrid: {grid}\n{text}\n")
    return "mine"


def test_a_grid_has_its_warm_starts_first_and_every_seed(project: Path) -> None:
    """Each run as `compose_run` has it."""
    runs = compose_grid(mine(project, "hiper, ppo"), project)
    assert [str(name).removeprefix("alfworld_small-tiny-") for name, _ in runs] == [
        f"{algorithm}-seed{seed}" for algorithm, seed in
        [("warmstart", 0), ("warmstart", 1), ("hiper", 0), ("hiper", 1), ("ppo", 0), ("ppo", 1)]
    ]  # fmt: skip
    assert all(settings == compose_run("mine", str(name), project) for name, settings in runs)


def test_a_variant_does_not_lose_its_own_key_to_the_experiment(project: Path) -> None:
    """The demo's gamma would make hiper_90 a second hiper: both files are named, and the advice does what it says."""
    with pytest.raises(UserError) as caught:
        compose_grid(mine(project, "hiper, hiper_90"), project)
    message = str(caught.value)
    assert "experiment/demo.yaml, algorithm.gamma: experiment mine overrides gamma = 0.9" in message
    assert "configs/algorithm/hiper_90.yaml" in message
    advice = re.search(r"add to configs/experiment/mine\.yaml: (by_algorithm: .*)", message)
    assert advice is not None
    runs = dict(compose_grid(mine(project, "hiper, hiper_90", advice[1]), project))
    assert {name.algorithm: settings.algorithm.gamma for name, settings in runs.items()} == {
        "warmstart": 0.95,
        "hiper": 0.95,
        "hiper_90": 0.9,
    }


def test_an_experiment_may_set_what_algorithms_of_different_names_differ_in(project: Path) -> None:
    """That is what it is for: the demo gives one gamma to all that discount, and to PPO and GRPO what they have."""
    runs = {name.algorithm: run.algorithm for name, run in compose_grid(mine(project, "hiper, ppo, ppo_turn"), project)}
    assert runs["hiper"].gamma == runs["ppo_turn"].gamma == 0.95
    assert runs["ppo"].model_dump() == {
        "name": "ppo",
        "group_size": 1,
        "normalize": True,
        "penalties": {"invalid": 0.0},
    }


@pytest.mark.parametrize(
    ("algorithms", "text", "wanted"),
    [
        ("ppo, hiper", "algorithm: {gama: 0.5}", r"algorithm\.gama: .* no algorithm has it; did you mean 'gamma'"),
        ("hiper", "algorithm: {penalties: {kep: 0.0}}", r"algorithm\.penalties\.kep: .*; did you mean 'keep'"),
        ("hiper", "algorithm: {penalties: {keep: {a: 0.0}}}", r"algorithm\.penalties\.keep\.a: unknown setting"),
        (
            "ppo, hiper",
            "by_algorithm: {ppo: {algorithm: {gamma: 0.5}}}",
            r"by_algorithm\.ppo\.algorithm\.gamma: unknown setting, ppo lacks it",
        ),
        (
            "hiper",
            "by_benchmark: {webshop: {by_algorithm: {ppo_turn: {algorithm: {gama: 0.3}}}}}",
            r"by_benchmark\.webshop\.by_algorithm\.ppo_turn\.algorithm\.gama: .*; did you mean 'gamma'",
        ),
        ("ppo, hiper", "algorithm: {lam_seg: 0.5}", None),
        ("grpo", "by_algorithm: {hiper: {algorithm: {lam_seg: 0.5}}}", None),
        ("vetta", "by_benchmark: {alfworld_small: {algorithm: {token_weight: 2.0}}}", None),
    ],
)
def test_an_algorithms_setting_has_an_algorithm_that_it_is_meant_for(
    project: Path, algorithms: str, text: str, wanted: str | None
) -> None:
    """One of the grid's, or the one named; else file, key and the nearest of theirs. The inherited demo's penalties,
    of which GRPO and PPO have one, are no mistake."""
    experiment = mine(project, algorithms, text)
    if wanted is None:
        assert compose_grid(experiment, project)
    else:
        with pytest.raises(UserError, match=rf"experiment/mine\.yaml, {wanted}"):
            compose_grid(experiment, project)


def test_what_no_algorithm_has_is_an_error_in_an_inherited_file_and_in_an_algorithms_own(project: Path) -> None:
    """An algorithm's file is for it alone, so that even another's setting is a mistake there."""
    demo = project / "configs/experiment/demo.yaml"
    text = demo.read_text()
    demo.write_text(text.replace("  gamma: 0.95", "  gama: 0.95"))
    with pytest.raises(UserError, match=r"demo\.yaml, algorithm\.gama: .*did you mean 'gamma'"):
        compose_grid(mine(project, "ppo_turn"), project)
    demo.write_text(text)
    (project / "configs/algorithm/mine.yaml").write_text("defaults: [ppo, _self_]\nlam_seg: 0.5\n")
    with pytest.raises(UserError, match=r"algorithm\.lam_seg: unknown setting"):
        compose_grid(mine(project, "mine"), project)


def test_the_projects_variants_keep_what_they_are_made_for() -> None:
    """Every ablation composes in the paper, whose WebShop has a penalty of its own."""
    run = compose_run("paper", "webshop-qwen2.5_1.5b_instruct-hiper_no_keep-seed0", ROOT)
    assert (run.algorithm.penalties.keep, run.algorithm.penalties.keep_mode) == (-3.5, "none")


@pytest.mark.parametrize(("group", "plural"), [("algorithm", "hiper, twin"), ("model", "tiny, twin")])
def test_two_arms_that_are_one_are_an_error(project: Path, group: str, plural: str) -> None:
    """A copy of a file under another name; with something of its own it is no copy."""
    original = project / "configs" / group / f"{plural.split(',')[0]}.yaml"
    text = original.read_text().replace("name: tiny", "name: twin")
    original.with_stem("twin").write_text(text)
    lists = {"algorithms": plural} if group == "algorithm" else {"algorithms": "hiper", "models": plural}
    with pytest.raises(UserError, match=rf"mine\.yaml: .*{group}/\w+\.yaml and configs/{group}/twin\.yaml") as caught:
        compose_grid(mine(project, **lists), project)
    assert f"by_{group}" in str(caught.value)
    own = {"algorithm": {"gamma": 0.5}} if group == "algorithm" else {"training": {"epochs": 2}}
    assert compose_grid(mine(project, **lists, text=yaml.safe_dump({f"by_{group}": {"twin": own}})), project)


@pytest.mark.parametrize(
    ("algorithms", "text", "wanted"),
    [
        ("hgpo", "algorithm: {group: {cross_steps: true}}", r"algorithm\.group\.cross_steps: without .*\(hgpo\) reads"),
        ("grpo", "algorithm: {lam_seg: 0.5}", r"algorithm\.lam_seg: without effect, none .*\(grpo\) reads it"),
        ("grpo", "training: {critic: {epochs: 3}}", r"training\.critic\.epochs: without effect, .* has a critic"),
        ("ppo", "variance: {tasks: 3}", r"variance\.tasks: without effect, because of variance\.batches: 0"),
        ("ppo", "training: {validation: {every: 3}}", r"training\.validation\.every: without effect"),
        ("hgpo, grpo", "algorithm: {group: {cross_steps: true}}", None),
        ("hgpo", "algorithm: {group: {cross_steps: true, base_group: true}}", None),
        ("grpo, hiper", "training: {critic: {epochs: 3}}", None),
        ("grpo", "training: {epochs: 3}", None),
    ],
)
def test_a_setting_that_no_run_reads_is_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture, algorithms: str, text: str, wanted: str | None
) -> None:
    """With file, key and reason; what some run reads, is inherited or belongs to others than the grid's is none."""
    with caplog.at_level(logging.WARNING, "hiper.grids"):
        compose_grid(mine(project, algorithms, text), project)
    assert (wanted is None) == (not caplog.messages), caplog.messages
    if wanted is not None:
        assert re.search(rf"experiment/mine\.yaml: {wanted}", caplog.messages[0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("by_algorithm: {hiper: {algorithm: {gama: 0.3}}}", r"by_algorithm\.hiper\.algorithm\.gama: .* mean 'gamma'"),
        ("by_benchmark: {webshop: {trainng: {epochs: 2}}}", r"by_benchmark\.webshop\.trainng\.epochs: .* 'training'"),
        ("by_model: {test: {model: {scratch: {hiden: 8}}}}", r"by_model\.test\.model\.scratch\.hiden: unknown setting"),
        ("by_benchmark: {webshop: {prompt: {max_tokens: 9}, by_algorithm: {ppo: {training: {kl: 0.1}}}}}", None),
    ],
)
def test_a_key_for_others_than_the_grids_is_a_setting_all_the_same(
    project: Path, text: str, wanted: str | None
) -> None:
    """It has no effect yet, and would be refused only when the grid is changed."""
    experiment = mine(project, "grpo", text)
    if wanted is None:
        assert compose_grid(experiment, project)
    else:
        with pytest.raises(UserError, match=rf"mine\.yaml, {wanted}"):
            compose_grid(experiment, project)


@pytest.mark.parametrize(
    ("inherited", "own", "wanted"),
    [
        ("by_benchmark: {alfworld_small: {training: {epochs: 3}}}", "training: {epochs: 2}", "alfworld_small"),
        (
            "by_model: {tiny: {training: {epochs: 3}}}",
            "by_benchmark: {alfworld_small: {training: {epochs: 2}}}",
            "tiny",
        ),
        ("by_benchmark: {alfworld_small: {training: {epochs: 3}}}", "training: {epochs: 3}", None),
        ("by_benchmark: {webshop_small: {training: {epochs: 3}}}", "training: {epochs: 2}", None),
        ("training: {epochs: 3}", "training: {epochs: 2}", None),
        (
            "by_benchmark: {alfworld_small: {training: {epochs: 3}}}",
            "training: {epochs: 2}\nby_benchmark: {alfworld_small: {training: {epochs: 4}}}",
            None,
        ),
    ],
)
def test_a_setting_that_an_inherited_one_for_some_runs_goes_over_is_a_warning(
    project: Path, caplog: pytest.LogCaptureFixture, inherited: str, own: str, wanted: str | None
) -> None:
    """With both files; what the experiment itself sets for these runs, too, is meant."""
    mine(project, "ppo", inherited)
    (project / "configs/experiment/mine.yaml").rename(project / "configs/experiment/below.yaml")
    mine(project, "ppo", own)
    path = project / "configs/experiment/mine.yaml"
    path.write_text(path.read_text().replace("[demo,", "[below,"))
    with caplog.at_level(logging.WARNING, "hiper.grids"):
        compose_grid("mine", project)
    assert (wanted is None) == (not caplog.messages), caplog.messages
    if wanted is not None:
        assert re.search(
            rf"mine\.yaml: \S*training\.epochs: without .*{wanted}, whose values in .*below\.yaml", caplog.messages[0]
        )


@pytest.mark.parametrize("experiment", available("experiment", ROOT))
def test_the_projects_experiments_compose_and_set_nothing_in_vain(
    caplog: pytest.LogCaptureFixture, experiment: str
) -> None:
    """Every run of every grid composes and validates, so that no configuration file can rot; no warning for any."""
    with caplog.at_level(logging.WARNING, "hiper.grids"):
        runs = compose_grid(experiment, ROOT)
    assert runs and not caplog.messages
    for name, settings in runs:
        found = settings.experiment, settings.benchmark.dataset, settings.model.name
        assert found == (experiment, name.benchmark, name.model)


def test_what_makes_two_algorithms_one_is_named(project: Path) -> None:
    """A setting of the experiment, or of one that it inherits, goes over the very one in which their files differ."""
    (project / "configs" / "algorithm" / "hiper_90.yaml").write_text("defaults: [hiper, _self_]\ngamma: 0.9\n")
    experiment = mine(project, "hiper, hiper_90", "algorithm: {gamma: 0.9}")
    told = r"have the same settings .*: their files differ, but algorithm\.gamma of .*mine\.yaml goes over both"
    with pytest.raises(UserError, match=told):
        compose_grid(experiment, project)
