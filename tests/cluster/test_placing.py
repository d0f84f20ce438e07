"""Where jobs go: partitions and GPUs of the profile, checked by a real Slurm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from grid import call, jobs
from local_slurm import LocalSlurm

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.timeout(5400)]

WARM_START = "results/gpus/runs/alfworld_test-test-warmstart-seed0/manifest.json"


@pytest.fixture(autouse=True)
def gpus(project: Path) -> Iterator[None]:
    """The experiment `test` for GPUs, as `gpus`."""
    path = project / "configs" / "experiment" / "test.yaml"
    settings = yaml.safe_load(path.read_text())
    settings |= {"defaults": [{"override /engine": "cuda"}], "engine": {"threads": 1}}
    path.with_stem("gpus").write_text("# @package _global_\n" + yaml.safe_dump(settings))
    yield
    path.with_stem("gpus").unlink()


def profile(project: Path, name: str, **changes: str) -> list[str]:
    """A further profile that changes some lines at the head of the tests' one."""
    settings = yaml.safe_load((project / "tests/cluster/profile/config.yaml").read_text())
    folder = project.parent / name
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"default-resources": settings["default-resources"] | changes}))
    return ["--profile", str(folder)]


def test_an_unknown_partition_is_named_before_anything_is_submitted(slurm: LocalSlurm, project: Path) -> None:
    """With the line of the profile, and the partitions there are."""
    before = len(jobs(slurm))
    changed = profile(project, "unknown", slurm_partition="nosuch")
    refused = call(slurm, project, *changed, "--config", "experiment=gpus")
    assert refused.wait() != 0
    assert re.search(r"slurm_partition: 'nosuch' is no partition of this cluster, which has cpu, gpu", refused.output)
    assert "Traceback" not in refused.output and len(jobs(slurm)) == before


def test_a_stage_for_gpus_is_given_one_in_the_partition_for_gpus(slurm: LocalSlurm, project: Path) -> None:
    """Slurm grants what the rule and the profile ask for; that no GPU answers here is said by the stage."""
    for name in ("demonstrations/alfworld_test/demonstrations.jsonl", "tokenizers/alfworld_test-test/tokenizer.json"):
        made = project / "results" / "gpus" / name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    more = ["--config", "experiment=gpus", "--allowed-rules", "warm_start", "tracking_database", "--retries", "0"]
    failed = call(slurm, project, WARM_START, *profile(project, "gpus", gpu_type="none"), *more)
    assert failed.wait() != 0
    (job,) = jobs(slurm, "rule_warm_start_wildcards_gpus")
    facts = slurm.command("scontrol", "show", "job", job.number)
    assert "Partition=gpu" in facts and re.search(r"TresPerNode=gres:gpu:none:1|gres/gpu:none=1", facts), facts
    log = project / "results" / "gpus" / "logs" / "warm_start" / "alfworld_test-test-seed0.log"
    assert "torch sees no GPU here" in log.read_text()
