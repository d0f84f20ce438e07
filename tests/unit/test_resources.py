"""Jobs ask for the memory and time that are counted, within limits, and for much where nothing can be counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from pipeline import changed

from hiper.compose import RunName, compose_run
from hiper.config import RunSettings, parse_run
from hiper.planning.assumptions import Assumptions
from hiper.views.estimates import plan_of
from hiper.views.resources import (
    LONGEST,
    OWN_MB,
    SHORTEST,
    UNKNOWN_MB,
    Stage,
    memory_mb,
    minutes,
    unknown_sizes,
    warned,
)
from hiper.views.slurm import doubts, misspelt, refused

ROOT = Path(__file__).resolve().parents[2]
SMALL, LARGE = (RunName("alfworld", f"qwen2.5_{size}_instruct", "hiper", 0) for size in ("1.5b", "7b"))
STAGES: list[Stage] = ["warm_start", "train", "evaluate", "gradient_variance"]


@pytest.fixture(scope="module")
def paper() -> dict[RunName, RunSettings]:
    return {name: compose_run("paper", str(name), ROOT) for name in (SMALL, LARGE)}


def altered(settings: RunSettings, **changes: Any) -> RunSettings:
    return parse_run(changed(settings.model_dump(), **changes), "test")


def test_a_training_asks_for_what_its_processes_read_and_write(paper: dict[RunName, RunSettings]) -> None:
    """Four processes of their own, and what the counting says of models, optimiser and checkpoint; each attempt adds to
    the processes' part alone."""
    for name, settings in paper.items():
        plan = plan_of(name, settings, Assumptions())
        assert plan is not None
        first, second = (memory_mb("train", name, settings, attempt) for attempt in (1, 2))
        assert first - 4 * OWN_MB["cuda"] == pytest.approx(plan.host.peak / 1e6, abs=500)
        assert second - first == 4 * OWN_MB["cuda"]
    asked = memory_mb("train", LARGE, paper[LARGE], 1)
    # 14.7·10⁹ parameters: 16 bytes of optimiser and gradients, 4 of the models that are written at the end
    assert asked == 4 * OWN_MB["cuda"] + round(14_686_235_648 * 20 / 1e9) * 1000


def test_one_process_reads_one_model_and_sft_writes_checkpoints(paper: dict[RunName, RunSettings]) -> None:
    """The pages of 7.6·10⁹ weights of 4 bytes and the largest, 152,064 · 3,584, beside them; a warm start has what it
    writes more, and one that learns 12 bytes of each weight."""
    settings = paper[LARGE]
    one = 7_615_616_512 * 4 + 152_064 * 3_584 * 4

    def asked(stage: Stage, settings: RunSettings) -> int:
        return memory_mb(stage, LARGE, settings, 1) - OWN_MB["cuda"]

    assert {asked(stage, settings) for stage in ("evaluate", "gradient_variance")} == {round(one / 1e9) * 1000}
    assert asked("warm_start", settings) == round((one + 7_615_616_512 * 4) / 1e9) * 1000
    learning = altered(settings, warm_start__method="sft")
    assert asked("warm_start", learning) == round((one + 7_615_616_512 * 16) / 1e9) * 1000


def test_small_models_on_cpus_ask_for_a_process_alone() -> None:
    """The demo's and the tests' models round to nothing beside it."""
    name = RunName("alfworld_test", "test", "hiper", 0)
    settings = compose_run("test", str(name), ROOT)
    assert {memory_mb(stage, name, settings, 1) for stage in STAGES} == {OWN_MB["cpu"]}
    wide = altered(settings, training__micro_batch_tokens=2_000_000)
    assert memory_mb("train", name, wide, 1) > 2 * OWN_MB["cpu"]
    assert minutes("train", name, settings, 2, 11, 100) == 200


def test_time_is_what_is_counted_and_half_as_much_again(paper: dict[RunName, RunSettings]) -> None:
    """Between four hours and a day, more with each attempt but never more than a day: the next job goes on."""
    plan = plan_of(SMALL, paper[SMALL], Assumptions())
    assert plan is not None
    counted = round(1.5 * plan.training_seconds / 60)
    assert SHORTEST < counted < LONGEST and minutes("train", SMALL, paper[SMALL], 1, 11, 7) == counted
    assert minutes("train", LARGE, paper[LARGE], 3, 11, 7) == LONGEST
    assert [minutes("evaluate", SMALL, paper[SMALL], attempt, 11, 7) for attempt in (1, 2)] == [SHORTEST, 2 * SHORTEST]
    assert minutes("warm_start", SMALL, paper[SMALL], 2, 11, 7) == 14
    assert minutes("warm_start", SMALL, paper[SMALL], 3, 11, 720) == LONGEST


def test_a_warning_leaves_time_for_an_iteration_and_a_checkpoint(paper: dict[RunName, RunSettings]) -> None:
    """Half as much again as is counted for both and a validation, where the profile leaves less; other options stay."""
    validated = altered(paper[SMALL], training__validation__tasks=64)
    plan = plan_of(SMALL, validated, Assumptions())
    assert plan is not None and plan.validation_seconds > 0
    needed = math.ceil(1.5 * (plan.step.seconds + plan.validation_seconds + plan.checkpoint_seconds))
    given = "--exclusive --signal=USR1@{} --qos=a"
    assert warned(given.format(60), SMALL, validated) == given.format(needed)
    assert warned(given.format(9999), SMALL, paper[SMALL]) == given.format(9999)
    slow = altered(validated, training__episodes=1_000_000)
    assert warned(given.format(60), SMALL, slow) == given.format(60 * SHORTEST // 2)  # within the shortest job
    assert warned("--exclusive", SMALL, paper[SMALL]) == "--exclusive"
    on_cpus = altered(paper[SMALL], engine__device="cpu")
    assert warned(given.format(60), SMALL, on_cpus) == given.format(60)


def test_an_unknown_model_asks_for_much_and_says_why(paper: dict[RunName, RunSettings], tmp_path: Path) -> None:
    """A name that is neither published here nor on this machine; a folder's config.json is enough to count."""
    unknown = altered(paper[SMALL], model__path="nobody/nothing-1B")
    assert memory_mb("train", SMALL, unknown, 1) == 4 * UNKNOWN_MB
    assert memory_mb("evaluate", SMALL, unknown, 2) == 2 * UNKNOWN_MB
    assert minutes("train", SMALL, unknown, 1, 11, 1440) == 1440
    told = unknown_sizes(SMALL, unknown)
    assert told is not None and "hiper model nobody/nothing-1B --download" in told and "64 GB" in told
    assert unknown_sizes(SMALL, paper[SMALL]) is None


NODES = """\
big 4 gpu:a100:4(S:0-1),gpu:t4:2
big 1 gpu:a100:8(S:0-1)
other 2 gpu:8
cpu 9 (null)
"""


@pytest.mark.parametrize(
    ("partitions", "kind", "gpus", "nodes", "said"),
    [
        (["big"], "a100", 4, 5, None),
        (["big"], "a100", 4, 6, "engine.gpus = 4 on each of engine.nodes = 6: 5 nodes"),
        (["big"], "a100", 8, 2, "1 nodes that jobs may run on (big) have so many a100 GPUs, none has more than 8"),
        (["big"], None, 6, 5, None),
        (["big", "other"], None, 8, 3, None),
        (["big", "other"], "t4", 4, 1, "0 nodes that jobs may run on (big, other) have so many t4 GPUs"),
        ([], None, 8, 3, None),
        (["cpu"], None, 1, 1, "none has more than 0"),
    ],
)
def test_a_training_that_no_nodes_could_take_is_named_beforehand(
    paper: dict[RunName, RunSettings], partitions: list[str], kind: str | None, gpus: int, nodes: int, said: str | None
) -> None:
    """More GPUs than a node of the partition has, of the kind that the profile names, or more such nodes than there
    are; Slurm would refuse the job hours later."""
    engine = paper[SMALL].engine.model_copy(update={"gpus": gpus, "nodes": nodes})
    profile = {"gpu_partition": ",".join(partitions), "gpu_type": kind}
    found = refused(NODES, profile.get, True, [engine, engine])
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])


def test_a_partition_that_the_cluster_lacks_is_named_with_those_it_has(paper: dict[RunName, RunSettings]) -> None:
    """That of jobs with GPUs only where there are such jobs."""
    profile = {"gpu_partition": "big,huge", "slurm_partition": "cpu"}
    assert refused(NODES, profile.get, False, []) == []
    (told,) = refused(NODES, profile.get, True, [paper[SMALL].engine])
    assert told.startswith("gpu_partition: 'huge' is no partition of this cluster, which has big, other, cpu;")


def test_a_mistyped_default_resource_is_named() -> None:
    """Those of other purposes are left alone, the executor's own among them."""
    known = ["constraint", "slurm_cluster", "qos", "reservation", "gpu_model", "gres", "partition", "account"]
    (told,) = misspelt(["gpu_partion", "slurm_account", "mem_mb", "runtime", "disk_mb", *known])
    assert told == "gpu_partion: unknown default resource in the profile; did you mean 'gpu_partition'?"


def test_what_sbatch_says_against_the_profiles_options_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked with all that the profile says of where jobs may run, and given nothing; what it accepts is not
    mentioned."""
    for name, text in {
        "squeue": "",
        "sbatch": 'case "$*" in *--qos=lab*) exit 0;; esac; echo no such qos >&2; exit 1',
    }.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n{text}\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    profile = {"slurm_account": "a", "gpu_partition": "g", "gpu_type": "t4", "slurm_extra": "'--signal=USR1@1800'"}
    on_cpu, on_gpu = doubts(profile.get, True)
    assert on_cpu.endswith("--account=a --signal=USR1@1800 --wrap=true: no such qos")
    assert "--gres=gpu:t4:1 --partition=g" in on_gpu
    assert doubts({**profile, "qos": "lab"}.get, True) == []
    (unread,) = doubts({"slurm_extra": "--comment='x"}.get, True)
    assert unread.startswith("slurm_extra of the profile cannot be read as options: No closing quotation")
    assert all(line.startswith("--test-only ") for line in (tmp_path / "asked").read_text().splitlines())
