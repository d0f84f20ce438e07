"""The files below `configs/` that a run is composed of, in the order in which they go over each other.

A file inherits others of its group through its `defaults`, and its folder alone says where its settings go. What Hydra
would take without a word, although nothing then reads it, is an error here: a package in a comment, settings of Hydra's
own, a choice that the grid makes, an inherited file that comes last and wins over the one that inherits it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hiper.errors import UserError, nearest, shown
from hiper.records import leftover
from hiper.yaml_files import read_yaml

GRID = ("benchmark", "model", "algorithm")  # what a grid chooses; by_benchmark and the others win in this order
CHOSEN = ("engine", "rollout")  # what an experiment chooses
_PACKAGE = re.compile(rb"\s*#\s*@package\s+(\S+)")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Layer:
    group: str
    path: Path
    values: dict[str, Any]  # without `defaults`


def available(group: str, root: Path) -> list[str]:
    """Names of the files in `configs/<group>/`, sorted."""
    folder = root / "configs" / group
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run this command in the project's root, where configs/ is")
    return sorted(path.stem for path in folder.glob("*.yaml") if not leftover(path.name))


def configuration_file(group: str, name: str, root: Path) -> Path:
    """`configs/<group>/<name>.yaml`; UserError with the names there are where there is none."""
    names = available(group, root)
    if name not in names:
        if (other := root / "configs" / group / f"{name}.yml").is_file():
            raise UserError(f"{other}: is not read; call it {name}.yaml")
        raise UserError(f"{group} {name!r} is unknown{nearest(name, names)}; configs/{group}/ has: {', '.join(names)}")
    return root / "configs" / group / f"{name}.yaml"


def layers(group: str, name: str, root: Path, heirs: tuple[Path, ...] = ()) -> list[Layer]:
    """The file of this name after all that it inherits, the later over the earlier; UserError for what would land
    nowhere. `heirs`: the files that inherit it."""
    try:
        path = configuration_file(group, name, root)
    except UserError as error:
        raise UserError(f"{heirs[-1]}, defaults: {error}" if heirs else str(error)) from None
    if path in heirs:
        raise UserError(f"{path}, defaults: inherits itself, by way of {', '.join(one.stem for one in heirs)}")
    values = dict(_read(path, path.read_bytes()))
    _require_own_package(path, group)
    parents = [
        (parent_group, layers(parent_group, parent, root, (*heirs, path)))
        for parent_group, parent in _inherited(path, group, values.pop("defaults", None), root)
    ]
    _require_one_choice(path, group, parents)
    if "hydra" in values:
        raise UserError(f"{path}, hydra: nothing reads Hydra's own settings; remove them")
    if group == "experiment":
        _require_the_grids_choices(path, values)
    return [*(layer for _, below in parents for layer in below), Layer(group, path, values)]


def _require_one_choice(path: Path, group: str, parents: Sequence[tuple[str, list[Layer]]]) -> None:
    """UserError where an experiment chooses two engines, or inherits two and chooses none: one would be dropped."""
    for choice in CHOSEN if group == "experiment" else ():
        own = [below[-1].path.stem for parent_group, below in parents if parent_group == choice]
        chosen = [[layer.path.stem for layer in below if layer.group == choice][-1:] for _, below in parents]
        names = dict.fromkeys(own or [name for one in chosen for name in one])
        if len(names) > 1 or len(own) > 1:
            raise UserError(
                f"{path}, defaults: {choice} {' and '.join(own or names)} are chosen, of which one has no effect; "
                f"keep, or add, one line `- override /{choice}: NAME`"
            )


@cache
def _read(path: Path, content: bytes) -> dict[str, Any]:
    """The file while it has this content; not to be altered."""
    return read_yaml(path)


def require_defaults(path: Path) -> None:
    """UserError for what `config.yaml`, whose settings are every run's, cannot set."""
    for key in {"grid", "hydra", "seed", "experiment"} & _read(path, path.read_bytes()).keys():
        raise UserError(f"{path}, {key}: has no effect here; remove it (runs and seeds are an experiment file's grid)")


def _require_own_package(path: Path, group: str) -> None:
    own = "_global_" if group == "experiment" else group
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        match = _PACKAGE.match(line)
        if match and (package := match[1].decode("utf-8", "replace")) not in (own, "_group_"):
            raise UserError(
                f"{path}, line {number}: @package {package}: its folder says where a file's settings go, which is "
                f"{own}; remove the line"
            )


def _inherited(path: Path, group: str, defaults: Any, root: Path) -> Iterator[tuple[str, str]]:
    """(group, name) of what the `defaults` of a file put below it, of the engine and rollout that they choose too."""
    if defaults is None:
        return
    if not isinstance(defaults, list):
        raise UserError(f"{path}, defaults = {shown(defaults)}: must be a list")
    inherits = "of the same folder, each as `- NAME`"
    own_seen = False
    for entry in defaults:
        if entry == "_self_":
            own_seen = True
            continue
        if isinstance(entry, dict) and len(entry) == 1:
            key, name = next(iter(entry.items()))
            target = str(key).split(" ")[-1].removeprefix("/")
            chosen = group == "experiment" and str(key) in (f"override /{one}" for one in CHOSEN)
            if chosen and isinstance(name, str):
                yield target, name
                continue
            if target in GRID:
                raise UserError(f"{path}, defaults: `{key}` has no effect, the grid chooses each run's {target}")
            hint = nearest(target, CHOSEN) if group == "experiment" and target not in CHOSEN else ""
            other = ", or `override /engine: NAME`, `override /rollout: NAME`" if group == "experiment" else ""
            raise UserError(f"{path}, defaults: `{key}: {name}` is none of the files {inherits}{other}{hint}")
        if not isinstance(entry, str) or not _NAME.fullmatch(entry):
            raise UserError(f"{path}, defaults: {shown(entry)}: must be the names of files {inherits}")
        if own_seen:
            raise UserError(
                f"{path}, defaults: {entry} comes after _self_, so its settings would go over this file's own; put "
                "_self_ last"
            )
        yield group, entry


def _require_the_grids_choices(path: Path, values: dict[str, Any]) -> None:
    """An experiment must not set what its grid says, nor hide settings where nothing looks for them."""
    for place, sections in parts(values):
        for key in ("seed", "experiment", "grid", "defaults", "hydra"):
            if key in sections and not (key == "grid" and not place):
                where = "the grid's lists say which runs there are" if key in ("seed", "grid") else "nothing reads it"
                raise UserError(f"{path}, {place}{key}: has no effect here, {where}; remove it")
        inner = place.rpartition("by_")[2].partition(".")[0]
        for group in GRID[: GRID.index(inner) + 1] if inner else ():
            if f"by_{group}" in sections:
                raise UserError(f"{path}, {place}by_{group}: by_{inner} stands within by_{group}, not around it")
        for group in GRID[1:]:
            if isinstance(section := sections.get(group), dict) and "name" in section:
                raise UserError(
                    f"{path}, {place}{group}.name: every {group} of the grid would be this one; list it under grid, "
                    f"{group}s, and remove the key"
                )


def parts(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, sections) of an experiment's settings: those for all of its runs, whose place is empty, then those that
    `by_benchmark`, `by_model` and `by_algorithm` have for some, also one within the other."""
    yield "", values
    for group in GRID:
        choices = values.get(f"by_{group}")
        for name, sections in choices.items() if isinstance(choices, dict) else ():
            for place, found in parts(sections) if isinstance(sections, dict) else ():
                yield f"by_{group}.{name}.{place}", found
