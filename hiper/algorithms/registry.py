"""The algorithms by the name they have in the configuration: ours, from `hiper.plugins.BUILT_IN`, and those of
installed packages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hiper import plugins
from hiper.algorithms.interface import Algorithm
from hiper.errors import nearest, shown


class _Algorithms(Mapping[str, Algorithm[Any]]):
    """Imports an algorithm when it is first asked for."""

    def __getitem__(self, name: str) -> Algorithm[Any]:
        if name not in self:
            raise KeyError(name)
        found: Algorithm[Any] = plugins.load(plugins.ALGORITHMS, name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in plugins.known(plugins.ALGORITHMS)

    def __iter__(self) -> Iterator[str]:
        return iter(plugins.known(plugins.ALGORITHMS))

    def __len__(self) -> int:
        return len(plugins.known(plugins.ALGORITHMS))


ALGORITHMS = _Algorithms()


def unknown(name: Any) -> str:
    """What is to be said of a name that no algorithm has."""
    hint = nearest(name, ALGORITHMS) if isinstance(name, str) else ""
    way = f"; if a package brings it, install the one whose entry point `{plugins.ALGORITHMS}` has this name"
    return f"{shown(name)} is no algorithm; there are: {', '.join(sorted(ALGORITHMS))}{hint}{'' if hint else way}"
