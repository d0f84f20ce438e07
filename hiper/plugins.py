"""Finds what a name of the configuration stands for: one of ours, or one that an installed package brings.

A package offers its own through an entry point of the groups `hiper.algorithms` or `hiper.environments`; its
`pyproject.toml` then says, for instance

    [project.entry-points."hiper.algorithms"]
    mine = "my_package.mine:ALGORITHM"

Ours stand in BUILT_IN in the same form, and CONTRACTS says what an object of either group must be. This is the one
place that imports by a text, because the floor that asks (the configuration) lies below the one that answers (a
benchmark).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from hiper.errors import UserError

ALGORITHMS = "hiper.algorithms"
ENVIRONMENTS = "hiper.environments"

BUILT_IN: dict[str, dict[str, str]] = {
    ALGORITHMS: {
        "hiper": "hiper.algorithms.hiper:ALGORITHM",
        "hiper_potentials": "hiper.algorithms.hiper_potentials:ALGORITHM",
        "ppo": "hiper.algorithms.ppo:ALGORITHM",
        "ppo_turn": "hiper.algorithms.ppo_turn:ALGORITHM",
        "vetta": "hiper.algorithms.vetta:ALGORITHM",
        "rloo": "hiper.algorithms.rloo:ALGORITHM",
        "grpo": "hiper.algorithms.grpo:ALGORITHM",
        "gigpo": "hiper.algorithms.gigpo:ALGORITHM",
        "hgpo": "hiper.algorithms.hgpo:ALGORITHM",
        "graphhca": "hiper.algorithms.graphhca:ALGORITHM",
        "adora": "hiper.algorithms.adora:ALGORITHM",
        "dvao": "hiper.algorithms.dvao:ALGORITHM",
        "mgrpo": "hiper.algorithms.mgrpo:ALGORITHM",
        "archer": "hiper.algorithms.archer:ALGORITHM",
        "hiper_groups": "hiper.algorithms.hiper_groups:ALGORITHM",
    },
    ENVIRONMENTS: {
        "alfworld": "hiper.benchmarks.alfworld.record:RECORD",
        "babyai": "hiper.benchmarks.babyai.record:RECORD",
        "webshop": "hiper.benchmarks.webshop.record:RECORD",
    },
}

CONTRACTS = {
    ALGORITHMS: "hiper.algorithms.interface:Algorithm",
    ENVIRONMENTS: "hiper.benchmarks.record:BenchmarkRecord",
}


@cache
def known(group: str) -> dict[str, str]:
    """What stands behind each name of a group, `module:attribute`, ours first and others' by name.

    UserError where two packages claim one name: whose it is would depend on the order of the installation.
    """
    found = dict(BUILT_IN[group])
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        if found.setdefault(point.name, point.value) != point.value:
            raise UserError(
                f"{point.name!r} is offered twice in the entry points {group}, as {found[point.name]} and as "
                f"{point.value}; uninstall one of the packages or rename its entry point"
            )
    return found


@cache
def load(group: str, name: str) -> Any:
    """The object behind a name that `known(group)` has; UserError where it cannot be imported, for whatever reason, or
    is not what its group's contract says."""
    value, contract = known(group)[name], _imported(CONTRACTS[group])
    says = f"{name!r} of the entry points {group} stands for {value}"
    remedy = "correct or uninstall the package that brings it"
    try:
        found = _imported(value)
    except UserError:
        raise
    except Exception as error:  # another's module may raise anything
        raise UserError(f"{says}, which fails: {type(error).__name__}: {error}; {remedy}") from error
    if not isinstance(found, contract):
        raise UserError(f"{says}, which must be an instance of {CONTRACTS[group].replace(':', '.')}; {remedy}")
    return found


def package(group: str, name: str) -> str | None:
    """The installed package that offers a name, for manifests; None for ours, and where that is not known."""
    points = [] if name in BUILT_IN[group] else entry_points(group=group, name=name)
    return next((point.dist.name for point in points if point.dist is not None), None)


def _imported(value: str) -> Any:
    module, _, attribute = value.partition(":")
    return getattr(import_module(module), attribute)
