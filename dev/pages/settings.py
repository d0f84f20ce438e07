"""The reference of settings: each with its type, limits, defaults, readers and remarks, as Markdown for the site.

Names, types and readers come from the models in `hiper/config`, in the algorithms and in the benchmarks; defaults and
further remarks from the files in `configs/`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from inspect import cleandoc
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel

from dev.pages.remarks import remark, yaml_remarks
from hiper.config import RunSettings
from hiper.config.declared import stages_read
from hiper.config.errors import section_of, written
from hiper.config.run import Blocks
from hiper.declarations import STAGES, Unread
from hiper.fields import Distinct, ProbabilityOrAuto
from hiper.plugins import ALGORITHMS, BUILT_IN, ENVIRONMENTS, load

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
GROUPS = {"benchmark": ENVIRONMENTS, "algorithm": ALGORITHMS}
LONGEST = 110  # characters of a line of facts
MOST = 4  # values that are listed with the files that have them
CHOSEN = ("benchmark", "model", "algorithm", "engine", "rollout")  # sections with a folder of files to choose from
NUMBERS: dict[Any, str] = {int: "whole number", float: "number"}
# Types whose limits a validator of their own holds.
SPECIAL = (
    (get_args(ProbabilityOrAuto)[1], "number from 0 to 1, or `auto`"),
    (get_args(Blocks)[1], "whole number ≥ 1, or `all`"),
)


@dataclass(frozen=True)
class Setting:
    """One setting of a run. `kind` says its type and limits in words, `readers` the stages that read it (or why none
    does), `about` what the section around it says of itself. `owners` are the benchmarks or algorithms that have it,
    none for what every run has."""

    name: str
    kind: str
    defaults: Mapping[str, Any]  # by the configuration file that has it, "" for `configs/config.yaml`
    readers: str
    remark: str
    about: str
    owners: tuple[str, ...] = ()


def settings() -> list[Setting]:
    """Every setting, in the order of the models; one that several algorithms or benchmarks have alike stands once."""
    found: dict[tuple[str, str, str], Setting] = {}
    for section, field in RunSettings.model_fields.items():
        models: dict[str, type[BaseModel]] = {}
        if section in GROUPS:
            models = {name: load(GROUPS[section], name).settings for name in BUILT_IN[GROUPS[section]]}
        elif (model := section_of(field)) is not None:
            models = {"": model}
        else:
            found[section, "", ""] = _setting(RunSettings, section, section, "")
        for owner, model in models.items():
            for one in _settings(model, section, owner):
                key = (one.name, one.kind, one.remark)
                if key in found:
                    before = found[key]
                    about = one.about if one.about == before.about else ""
                    defaults = {**before.defaults, **one.defaults}
                    found[key] = replace(before, owners=(*before.owners, *one.owners), about=about, defaults=defaults)
                else:
                    found[key] = one
    return list(found.values())


def names() -> set[str]:
    """Dotted names of all settings and of the sections that they are in."""
    whole = {one.name for one in settings()}
    return whole | {name.rsplit(".", depth)[0] for name in whole for depth in range(1, name.count(".") + 1)}


def _settings(model: type[BaseModel], above: str, owner: str = "") -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield _setting(model, name, f"{above}.{name}", owner)
        else:
            yield from _settings(section, f"{above}.{name}", owner)


def _setting(model: type[BaseModel], field: str, name: str, owner: str) -> Setting:
    definition = model.model_fields[field]
    defaults = dict(_defaults(name, owner))
    said = _field_remark(model, field) or yaml_remarks(CONFIGS / "config.yaml").get(name, "")
    said = re.sub(r"\bNone\b", "null", said)
    kind = described(definition.annotation, tuple(definition.metadata))
    if owner and name.count(".") == 1 and field == "name":
        kind = _either([f"`{one}`" for one in BUILT_IN[GROUPS[name.split(".")[0]]]])
    about = cleandoc(model.__dict__.get("__doc__") or "") if model is not RunSettings else ""
    return Setting(name, kind, defaults, _readers(name), said, about, (owner,) if owner else ())


def _defaults(name: str, owner: str) -> Iterator[tuple[str, Any]]:
    """(file, value): of the files of the section's folder that belong to the owner, the one of its name first, variants
    of it where they differ, those of the checks left out; else of `configs/config.yaml`."""
    section, *keys = name.split(".")
    if section not in CHOSEN:
        if (value := _at(_read(CONFIGS / "config.yaml"), name)) is not _NONE:
            yield "", value
        return
    first = owner or next(one[section] for one in _read(CONFIGS / "config.yaml")["defaults"] if section in one)
    files = {path.stem: _whole(path) for path in sorted((CONFIGS / section).glob("*.yaml"))}
    usual = _at(files[first], ".".join(keys))
    for stem in sorted(files, key=lambda stem: stem != first):
        value = _at(files[stem], ".".join(keys))
        belongs = not owner or files[stem]["name"] == owner
        variant = owner and stem not in BUILT_IN[GROUPS[section]]
        if belongs and value is not _NONE and not stem.endswith("test") and not (variant and value == usual):
            yield stem, value


_NONE = object()


def _whole(path: Path) -> dict[str, Any]:
    """A configuration file with what it inherits."""
    content = dict(_read(path))
    whole: dict[str, Any] = {}
    for one in content.pop("defaults", []):
        whole = _over(whole, content if one == "_self_" else _whole(path.with_name(f"{one}.yaml")))
    return whole or content


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        inner = both.get(key)
        both[key] = _over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def _at(values: Any, name: str) -> Any:
    for key in name.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return _NONE
        values = values[key]
    return values


@cache
def _read(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def _readers(name: str) -> str:
    def holds(names: tuple[str, ...]) -> bool:
        return any(name == above or name.startswith(f"{above}.") for above in names)

    read = stages_read(RunSettings)
    if holds(read.unread):
        return f"no stage ({_reason(name)})"
    return ", ".join(stage for stage in STAGES if holds(read.by[stage]))


def _reason(name: str) -> str:
    """Why no stage reads a setting, as the annotation of it or of a section around it says."""
    model: type[BaseModel] = RunSettings
    for key in name.split("."):
        field = model.model_fields[key]
        for said in field.metadata:
            if isinstance(said, Unread):
                return said.reason
        model = section_of(field) or model
    raise KeyError(name)


def _field_remark(model: type[BaseModel], field: str) -> str:
    """The comment beside a field, in the class of the model's ancestry that defines it last."""
    for ancestor in model.__mro__:
        if ancestor.__module__.startswith("hiper.") and field in inspect.get_annotations(ancestor):
            path = ROOT / (ancestor.__module__.replace(".", "/") + ".py")
            name = ancestor.__qualname__.partition("[")[0]
            if said := _remarks(path).get((name, field)):
                return said
    return ""


@cache
def _remarks(path: Path) -> dict[tuple[str, str], str]:
    """The comment beside each annotated field of each class of a module."""
    source = path.read_text(encoding="utf-8")
    return {
        (part.name, node.target.id): remark(source, node)
        for part in ast.parse(source).body
        if isinstance(part, ast.ClassDef)
        for node in part.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def described(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """A field's type and limits in words."""
    for mark, words in SPECIAL:
        if any(said is mark for said in metadata):
            return words
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return described(parts[0], (*parts[1:], *metadata))
    if origin is Literal:
        return _either([f"`{part if isinstance(part, str) else written(part)}`" for part in parts])
    if origin in (Union, UnionType):
        inner = [part for part in parts if part is not NoneType]
        texts = [described(part, metadata) for part in inner]
        return _either([*texts, "`null`"] if NoneType in parts else texts)
    if annotation is bool:
        return "`true` or `false`"
    if annotation in NUMBERS:
        return NUMBERS[annotation] + _limits(metadata)
    if origin in (list, dict) or (origin is not None and issubclass(origin, (list, dict, tuple))):
        what = described(parts[-1])
        words = f"names, each with: {what}" if origin is dict else f"list of: {what}"
        return words + (", without repetition" if Distinct in metadata else "") + _fewest(metadata)
    return "text" if annotation is str else "list of texts" if origin is not None else str(annotation)


def _either(texts: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _limits(metadata: tuple[Any, ...]) -> str:
    low = high = ""
    for said in metadata:
        parts = getattr(said, "metadata", [said])  # pydantic's Field within an Annotated keeps its own
        for part in parts:
            low = f"≥ {_number(part.ge)}" if isinstance(part, annotated_types.Ge) else low
            low = f"> {_number(part.gt)}" if isinstance(part, annotated_types.Gt) else low
            high = f"≤ {_number(part.le)}" if isinstance(part, annotated_types.Le) else high
            high = f"< {_number(part.lt)}" if isinstance(part, annotated_types.Lt) else high
    if low.startswith("≥") and high.startswith("≤"):
        return f" from {low[2:]} to {high[2:]}"
    return " " + " and ".join(filter(None, (low, high))) if low or high else ""


def _number(value: Any) -> str:
    return f"{value:,}".removesuffix(".0")


def _fewest(metadata: tuple[Any, ...]) -> str:
    parts = [part for said in metadata for part in getattr(said, "metadata", [said])]
    return ", at least one" if any(isinstance(part, annotated_types.MinLen) for part in parts) else ""


def markdown(section: str) -> str:
    """The reference of one section of a run's settings, "" for those in no section, with a heading for each section
    in it."""
    parts: dict[str, list[Setting]] = {}
    for one in settings():
        above = one.name.rpartition(".")[0]
        if above.split(".")[0] == section:
            parts.setdefault(above, []).append(one)
    lines: list[str] = []
    for above, those in parts.items():
        if above != section:
            lines += ["", f"### `{above}`", ""]
        if len({one.about for one in those}) == 1:
            lines += [those[0].about, ""]
        alike = len({one.readers for one in those}) == 1 and len(those) > 1
        if alike:
            lines += [f"Read by {those[0].readers}.", ""]
        for one in those:
            twice = sum(other.name == one.name for other in those) > 1
            lines += _entry(one, whose=twice, readers=not alike)
    return "\n".join(lines)


def _entry(one: Setting, whose: bool, readers: bool) -> list[str]:
    owners = ", ".join(one.owners)
    facts = [one.kind, *([f"default {_shown_defaults(one)}"] if one.defaults else [])]
    facts += [f"read by {one.readers}"] if readers else []
    if one.owners and len(one.owners) < len(BUILT_IN[GROUPS[one.name.split(".")[0]]]):
        facts.insert(0, f"of {owners}")
    said = [f"{one.remark[0].upper()}{one.remark[1:]}.".replace("..", "."), ""] if one.remark else []
    return ["", f":::{{setting}} {one.name}{f' ({owners})' if whose else ''}", *said, *_on_lines(facts), ":::"]


def _on_lines(facts: list[str]) -> list[str]:
    """On one line where they are short, else each on its own."""
    line = " · ".join(facts)
    return [line] if len(line) <= LONGEST else "\\\n".join(f"{one[0].upper()}{one[1:]}" for one in facts).splitlines()


def _shown_defaults(one: Setting) -> str:
    """Each value with the files that have it; none where one file has it all, or where each file has its own."""
    different: dict[str, list[str]] = {}
    for file, value in one.defaults.items():
        different.setdefault(_shown(value), []).append(f"`{file}`")
    if len(different) > MOST and len(different) == len(one.defaults):
        return "in each file"
    if len(different) == 1:
        return f"`{next(iter(different))}`"
    return "; ".join(f"`{value}` in {', '.join(files)}" for value, files in different.items())


def _shown(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1 << 20).removesuffix("\n...\n").strip()
