"""`snakemake --profile slurm` plans; nothing here needs a cluster."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from checkout import snakemake

pytestmark = [pytest.mark.xdist_group("workflow"), pytest.mark.timeout(3600)]

ON_GPUS = {"warm_start", "preflight", "train", "evaluate", "gradient_variance"}
ON_ALL = {"preflight", "train"}  # of the engine's GPUs
PROFILE = {
    "slurm_account": "lab",
    "slurm_partition": "cpu",
    "gpu_partition": "big",
    "gpu_type": "a100",
    "gpu_constraint": "a100_80gb",
    "slurm_extra": "'--comment=\"a b\" --signal=USR1@10'",
    "network_interface": "ib0",
    "mem_mb": 1000,
    "runtime": 20,
}


def planned(project: Path, *arguments: str) -> list[tuple[str, dict[str, str]]]:
    """(rule, resources) of every job of a dry run, and its shell command as resource `shell`."""
    done = snakemake(project, "--profile", "slurm", "--dry-run", "--printshellcmds", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    blocks = re.split(r"^ *(?:local)?rule ", done.stdout + done.stderr, flags=re.MULTILINE)[1:]
    found = []
    for block in blocks:
        given = re.search(r"^ *resources: (.*)$", block, flags=re.MULTILINE)
        shell = re.search(r"^ *Shell command: (.*)$", block, flags=re.MULTILINE)
        resources = dict(pair.split("=", 1) for pair in given[1].split(", ")) if given else {}
        found.append((block.split(":")[0], resources | {"shell": shell[1] if shell else ""}))
    return found


def test_the_paper_is_what_a_cluster_makes_by_default(project: Path) -> None:
    """Both benchmarks and models, three seeds, every algorithm: a training on the GPUs of its engine, an evaluation on
    one, nothing else on any (warm starts copy a model here); memory and time as they are counted, a training's with a
    critic and without."""
    jobs = planned(project)
    counts = Counter(rule for rule, _ in jobs)
    grid = yaml.safe_load((project / "configs" / "experiment" / "paper.yaml").read_text())["grid"]
    starts = len(grid["benchmarks"]) * len(grid["models"]) * len(grid["seeds"])
    assert counts["warm_start"] == starts
    assert counts["train"] == starts * len(grid["algorithms"])
    assert counts["evaluate"] == counts["train"] + counts["warm_start"]
    engine = yaml.safe_load((project / "configs" / "engine" / "deepspeed.yaml").read_text())
    for rule, resources in jobs:
        on_gpu = rule in ON_GPUS - {"warm_start"}
        assert resources.get("gres") == (f"gpu:{engine['gpus'] if rule in ON_ALL else 1}" if on_gpu else None), rule
        assert resources.get("slurm_partition") == ("gpu" if on_gpu else None), rule
        if on_gpu and rule != "preflight":
            assert 240 <= int(resources["runtime"]) <= 1440
    assert counts["preflight"] == len(grid["models"])
    counted = ON_GPUS - {"preflight"}
    asked = [(rule, resources["shell"], int(resources["mem_mb"])) for rule, resources in jobs if rule in counted]
    for model, training, copied, others in (
        ("1.5b", {101_000, 83_000}, 29_000, 23_000),
        ("7b", {358_000, 216_000}, 79_000, 49_000),
    ):
        of_model = [(rule, memory) for rule, shell, memory in asked if f"qwen2.5_{model}_" in shell]
        assert {memory for rule, memory in of_model if rule == "train"} == training
        assert {memory for rule, memory in of_model if rule == "warm_start"} == {copied}
        assert {memory for rule, memory in of_model if rule not in ("train", "warm_start")} == {others}


def test_the_head_of_the_profile_reaches_the_jobs_it_is_about(project: Path, tmp_path: Path) -> None:
    """Account and signal: every job; partition, type and constraint for GPUs: those that compute on GPUs; several nodes
    are started by srun and torchrun."""
    text = (project / "configs" / "experiment" / "test.yaml").read_text()
    sharded = "defaults:\n  - override /engine: deepspeed\nengine:\n  gpus: 4\n  nodes: 2\n"
    (project / "configs" / "experiment" / "sharded.yaml").write_text(f"# @package _global_\n{sharded}{text}")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"default-resources": PROFILE}))
    try:
        jobs = planned(project, "--profile", str(tmp_path), "--config", "experiment=sharded")
    finally:
        (project / "configs" / "experiment" / "sharded.yaml").unlink()
    for rule, resources in jobs:
        on_gpu = rule in ON_GPUS
        assert resources["slurm_account"] == "lab"
        assert resources["slurm_extra"].startswith('--comment="a b" --signal=USR1@')
        seconds = int(resources["slurm_extra"].rpartition("@")[2])
        assert seconds > 10 if rule == "train" else seconds == 10  # of an iteration: 3 s for each of its turns
        assert resources["slurm_partition"] == ("big" if on_gpu else "cpu")
        assert resources.get("constraint") == ("a100_80gb" if on_gpu else None)
        assert resources.get("gres") == (f"gpu:a100:{4 if rule in ON_ALL else 1}" if on_gpu else None)
        if rule in ON_ALL:  # what is tried beforehand goes over as many nodes as the training
            assert (resources["nodes"], resources["tasks"], resources["mpi"]) == ("2", "2", "srun")
            over, started = "NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0 ", resources["shell"]
            launched = rf"srun --nodes 2 .* torchrun --nproc-per-node 4 .* --nnodes 2 .* -- hiper {rule} "
            assert re.match(over + launched, started)
    made = {"demonstrations", "tokenizer", "warm_start", "preflight", "train", "evaluate", "report"}
    assert {rule for rule, _ in jobs} >= made
