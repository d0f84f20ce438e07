"""What samples, by the settings: which combinations make sense, and what is said where vLLM is missing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import pytest
from pipeline import ROOT, VLLM, run_settings

from hiper.compose import available, compose_run
from hiper.config import Engine, RolloutSettings, RunSettings
from hiper.digests import stage_digest
from hiper.errors import UserError
from hiper.learning.engines import ENGINES
from hiper.policies.backends import BACKENDS, make_backend
from hiper.yaml_files import read_yaml


def changed(rollout: dict[str, Any]) -> RunSettings:
    return run_settings(rollout=rollout)


@pytest.mark.parametrize("name", available("rollout", ROOT))
def test_every_rollout_file_is_valid_and_called_like_its_backend(name: str) -> None:
    """A run may be given each of them."""
    values = read_yaml(ROOT / "configs" / "rollout" / f"{name}.yaml")
    assert changed(values).rollout.model_dump() == values
    assert values["backend"] == name


def test_settings_allow_what_there_is() -> None:
    """Each backend and engine has a name that settings may give, and no other name is allowed."""
    allowed = RolloutSettings.model_fields["backend"].annotation, Engine.model_fields["name"].annotation
    assert [set(get_args(names)) for names in allowed] == [set(BACKENDS), set(ENGINES)]


def test_experiments_for_gpus_sample_with_vllm_and_no_other_does() -> None:
    """What runs on two CPU cores needs no other environment."""
    found = {}
    for name in available("experiment", ROOT):
        grid = read_yaml(ROOT / "configs" / "experiment" / f"{name}.yaml")["grid"]
        run = f"{grid['benchmarks'][0]}-{grid['models'][0]}-{grid['algorithms'][0]}-seed0"
        found[name] = compose_run(name, run, ROOT).rollout.backend
    papers = {"paper", "paper_logged", "paper_react"}
    assert {name for name, backend in found.items() if backend == "vllm"} == {*papers, "first_gpu"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backend": "local", "memory_share": None}, "backend local samples with the trainer's own model"),
        ({"backend": "local", "importance_cap": None}, "backend local samples with the trainer's own model"),
        ({"memory_share": None}, "backend vllm needs memory_share"),
        ({"keep_prefixes": True}, "backend vllm keeps prefixes and has a copy of the weights by itself"),
        ({"dtype": "bfloat16"}, "backend vllm keeps prefixes and has a copy of the weights by itself"),
        ({"memory_share": 1.0}, "rollout.memory_share"),
        ({"importance_cap": 0.5}, "rollout.importance_cap"),
        ({"backend": "sglang"}, "rollout.backend"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(change: dict[str, Any], message: str) -> None:
    """Nothing that is set is silently without effect."""
    with pytest.raises(UserError, match=message):
        changed({**VLLM, **change})


def test_how_much_memory_vllm_gets_trains_nothing_anew() -> None:
    """Backend and correction belong to the training's digest, the share of memory does not."""
    digest = stage_digest(changed(VLLM), "train")
    assert stage_digest(changed({**VLLM, "memory_share": 0.5}), "train") == digest
    assert stage_digest(changed({**VLLM, "importance_cap": 3.0}), "train") != digest
    assert stage_digest(run_settings(), "train") != digest


def test_without_vllm_the_message_says_how_to_get_it(tmp_path: Path) -> None:
    """Before anything is loaded: both environments, and the way without."""
    found = find_spec("vllm")
    if found is not None and found.origin is not None:
        pytest.skip("vLLM is in this environment")
    with pytest.raises(UserError, match=r"make test-vllm.*envs/gpu\.txt.*rollout=local"):
        make_backend(changed(VLLM), "cpu").in_training(tmp_path, None, None, lambda: [], True)  # type: ignore[arg-type]
