"""What keeps a Slurm cluster from ever starting an experiment's jobs, asked of its `sinfo`: the workflow asks before it
submits, `hiper doctor` whenever it is called."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress

from hiper.config import Engine
from hiper.errors import nearest
from hiper.views.resources import SHORTEST

COMMANDS, LISTS = ("sbatch", "squeue"), "sinfo"
# default resources of profiles/slurm/config.yaml that say where jobs may run
PLACING = ("slurm_account", "slurm_partition", "gpu_partition", "gpu_type", "gpu_constraint", "slurm_extra",
           "network_interface")  # fmt: skip
SLIP = 0.9  # gpu_partion and gpu_partition are alike to 0.92, constraint and gpu_constraint to 0.83
Resource = Callable[[str], str | None]
"""A default resource of the profile as text; None: the cluster's own choice."""


def lacking() -> list[str]:
    """Slurm's commands that are not on this machine."""
    return [name for name in COMMANDS if not shutil.which(name)]


def refusals(of_profile: Resource, names: Collection[str], on_gpus: bool, trained: Sequence[Engine]) -> list[str]:
    """One line for each reason, with the line of the profile to change. `names`: of all default resources of the
    profile; `on_gpus`: some of the jobs to come want GPUs; `trained`: the engines of trainings among them. Nothing
    where there is no Slurm, which `hiper.views.needs` says."""
    if lacking():
        return []
    if wrong := misspelt(names):
        return wrong
    try:
        asked = [LISTS, "--noheader", "--format=%R %D %G"]
        listed = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace")
    except OSError as error:
        return [f"{LISTS} cannot be started ({error.strerror}): it says which partitions this cluster has"]
    if listed.returncode:
        return [f"{LISTS} ended with status {listed.returncode}: {listed.stderr.strip()}; ask who runs this cluster"]
    return refused(listed.stdout, of_profile, on_gpus, trained)


def misspelt(names: Collection[str]) -> list[str]:
    """Default resources whose names are a letter away from one that says where jobs may run: Snakemake passes over
    them. Others are the executor's own (`constraint`, `slurm_cluster`) or anybody's."""
    hints = {name: nearest(name, PLACING, SLIP) for name in names if name not in PLACING}
    return [f"{name}: unknown default resource in the profile{hint}" for name, hint in hints.items() if hint]


def doubts(of_profile: Resource, on_gpus: bool) -> list[str]:
    """What sbatch says against a job with the profile's options, which it is asked about and not given: of a refusal of
    grouped jobs Snakemake says nothing. Options that are not among the default resources are not known here, so this
    is no reason to stop."""
    if lacking():
        return []
    names = {"account": "slurm_account", "qos": "qos"}
    common = [f"--{option}={found}" for option, name in names.items() if (found := of_profile(name))]
    try:
        common += shlex.split(of_text(of_profile("slurm_extra") or ""))
    except ValueError as error:
        return [f"slurm_extra of the profile cannot be read as options: {error}"]
    kinds = {"slurm_partition": common}
    if on_gpus:
        kind, features = of_profile("gpu_type"), of_profile("gpu_constraint")
        gpus = [f"--gres={':'.join(filter(None, ('gpu', kind, '1')))}"]
        kinds["gpu_partition"] = common + gpus + ([f"--constraint={features}"] if features else [])
    problems = []
    for key, options in kinds.items():
        partition = [f"--partition={found}"] if (found := of_profile(key)) else []
        asked = ["sbatch", "--test-only", f"--time={SHORTEST}", *options, *partition, "--wrap=true"]
        done = subprocess.run(asked, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            said = " ".join(done.stderr.split()) or f"status {done.returncode}"
            problems.append(f"{shlex.join(asked)}: {said}")
    return problems


def of_text(said: str) -> str:
    """A default resource as Snakemake takes it: its text is Python's, as a rule in quotes."""
    with suppress(ValueError, SyntaxError):
        return str(ast.literal_eval(said))
    return said


def refused(listed: str, of_profile: Resource, on_gpus: bool, trained: Sequence[Engine]) -> list[str]:
    """The same of what `sinfo --format="%R %D %G"` lists: partition, number of nodes, GPUs of each."""
    known = list(dict.fromkeys(line.split()[0] for line in listed.splitlines()))
    keys = ["slurm_partition", *(["gpu_partition"] if on_gpus else [])]
    wanted = {key: [name for name in (of_profile(key) or "").split(",") if name] for key in keys}
    unknown = [
        f"{key}: {name!r} is no partition of this cluster, which has {', '.join(known) or f'none that {LISTS} knows'}; "
        "correct it in the default-resources of your profile"
        for key, names in wanted.items()
        for name in names
        if name not in known
    ]
    engines = [engine for engine in trained if engine.device == "cuda"]
    return unknown or [*_unplaceable(listed, wanted.get("gpu_partition", []), of_profile("gpu_type"), engines)]


def _unplaceable(
    listed: str, partitions: Collection[str], kind: str | None, engines: Collection[Engine]
) -> Iterator[str]:
    """Trainings by these engines that no nodes could take. Only `partitions` count (none named: all), and GPUs of the
    `kind` (None: of any)."""
    nodes: list[tuple[int, int]] = []  # GPUs of a node, how many nodes have them
    for line in listed.splitlines():
        partition, count, resources = line.split(maxsplit=2)
        if not partitions or partition in partitions:
            nodes.append((_gpus(resources, kind), int(count)))
    most = max((gpus for gpus, _ in nodes), default=0)
    for gpus, wanted in sorted({(engine.gpus, engine.nodes) for engine in engines}):
        enough = sum(count for there, count in nodes if there >= gpus)
        if enough < wanted:
            what = f"{kind} GPUs" if kind else "GPUs"
            yield (
                f"engine.gpus = {gpus} on each of engine.nodes = {wanted}: {enough} nodes that jobs may run on "
                f"({', '.join(sorted(partitions)) or 'any partition'}) have so many {what}, none has more than {most}; "
                "share the processes out otherwise, or name another gpu_partition or gpu_type in your profile"
            )


def _gpus(resources: str, kind: str | None) -> int:
    """Of a node's generic resources as sinfo lists them: `gpu:a100:4(S:0-1),gpu:t4:2`, `gpu:4`, `(null)`."""
    found = re.findall(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)", resources)
    return sum(int(count) for name, count in found if kind in (None, name))
