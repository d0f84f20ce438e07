"""Finds what a name of the configuration stands for: one of ours, or one that an installed package brings.

A package offers its own through an entry point of the groups `hiper.algorithms` or `hiper.environments`; its
`pyproject.toml` then says, for instance

    [project.entry-points."hiper.algorithms"]
    mine = "my_package.mine:ALGORITHM"

Ours stand in BUILT_IN in the same form. This is the one place that imports by a text, because the floor that asks (the
configuration) lies below the one that answers (a benchmark).
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
    ALGORITHMS: {},
    ENVIRONMENTS: {
        "alfworld": "hiper.benchmarks.alfworld.record:RECORD",
        "babyai": "hiper.benchmarks.babyai.record:RECORD",
        "webshop": "hiper.benchmarks.webshop.record:RECORD",
    },
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
    """The object behind a name that `known(group)` has; UserError where it cannot be imported."""
    value = known(group)[name]
    module, _, attribute = value.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name!r} of the entry points {group} stands for {value}, which fails: {error}") from error
