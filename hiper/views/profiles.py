"""Snakemake's profiles: who runs the jobs, and what the cluster gives each of them unless it says otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hiper.errors import UserError

LOCAL, SLURM = "local", "slurm"  # Snakemake's names for running jobs on this machine and on Slurm's nodes


@dataclass(frozen=True)
class Profile:
    """Who runs jobs, as Snakemake calls it, and what they ask of it by default, as the profile has it."""

    executor: str = LOCAL
    resources: Mapping[str, Any] = field(default_factory=dict)

    def resource(self, name: str) -> str | None:
        """As text; None: the cluster's own choice."""
        value = self.resources.get(name)
        return None if value in (None, "None", "null") else str(value)


def profile_of(names: Sequence[str], root: Path) -> Profile:
    """What Snakemake, started in `root`, makes of these profiles: a key of a later one takes the place of an earlier
    one's. UserError where it finds none of that name."""
    if not names:
        return Profile()
    from snakemake.cli import get_profile_dir

    from hiper.yaml_files import read_yaml

    values: dict[str, Any] = {}
    for name in names:
        with contextlib.chdir(root):
            found = get_profile_dir(name)
        if found is None:
            near = f"profiles/{name}"
            hint = f"; did you mean {near}?" if (root / near).is_dir() else ""
            raise UserError(f"--profile {name}: Snakemake finds no folder of that name with a config.yaml{hint}")
        values |= read_yaml(root / found[1])
    return Profile(str(values.get("executor", LOCAL)), _resources(values.get("default-resources")))


def _resources(said: Any) -> Mapping[str, Any]:
    """A mapping, or a list of `NAME=VALUE`."""
    if isinstance(said, list):
        return {name: value for name, _, value in (str(entry).partition("=") for entry in said)}
    return said if isinstance(said, dict) else {}
