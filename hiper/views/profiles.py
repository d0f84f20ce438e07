"""Snakemake's profiles: who runs the jobs, and what the cluster gives each of them unless it says otherwise."""

from __future__ import annotations

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
        return None if value is None else str(value)


def profile_of(names: Sequence[str], root: Path) -> Profile:
    """What Snakemake makes of these profiles: a key of a later one takes the place of an earlier one's. UserError where
    there is no such profile."""
    from hiper.yaml_files import read_yaml

    values: dict[str, Any] = {}
    for name in names:
        paths = [
            path for place in (root / name, root / "profiles" / name) for path in sorted(place.glob("config*.yaml"))
        ]
        if not paths:
            raise UserError(f"--profile {name}: no config.yaml in {root / name} or {root / 'profiles' / name}")
        values |= read_yaml(paths[0])
    resources = values.get("default-resources")
    return Profile(str(values.get("executor", LOCAL)), resources if isinstance(resources, dict) else {})
