"""Configuration files, read strictly: what YAML silently forgives is an error with file and line.

Refused are a key given twice (YAML keeps the last), numbers like 010 (8 to YAML) and 1:30 (90), anchors and aliases (a
few lines of them can stand for gigabytes), tags that ask for objects of a programming language, values taken from the
environment, which would land in published files, and OmegaConf's `???`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode

from hiper.errors import UserError

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHER_BASE = re.compile(r"[-+]?0[0-9_]+|[^.]*:.*")
LARGEST = 1 << 20  # bytes; a configuration file has a few thousand


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; UserError names the file, the line and what is wrong there."""
    try:
        content = path.read_bytes()
        if len(content) > LARGEST:
            raise UserError(f"{path}: {len(content)} bytes are too many for a configuration file; is it one?")
        values = yaml.load(content.decode("utf-8-sig"), Loader=_Strict)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: not valid YAML, line {line}: not UTF-8; save the file in that encoding") from None
    except RecursionError:
        raise UserError(f"{path}: not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}: not valid YAML{_place(error)}") from None
    if values is None:
        raise UserError(f"{path}: is empty; it must be a mapping of settings")
    if not isinstance(values, dict):
        raise UserError(f"{path}: must be a mapping of settings")
    return values


class _Strict(yaml.SafeLoader):
    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            _refuse("anchors and aliases (& and *) are not used in configuration files; write the value out", event)
        node: Node | None = super().compose_node(parent, index)
        if isinstance(node, ScalarNode) and "${" in node.value and "oc.env" in node.value:
            _refuse("a value from the environment would be published in config.yaml; write the value", node)
        if isinstance(node, ScalarNode) and node.value == "???":
            _refuse("'???' would silently leave the default; write the value", node)
        if isinstance(node, ScalarNode) and node.tag in _NUMBERS and _OTHER_BASE.fullmatch(node.value):
            _refuse(
                f"{node.value} is a number of another base to YAML; write it without leading zeros and colons", node
            )
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, ScalarNode):
                if key.value in seen:
                    _refuse(f"{key.value!r} is given twice; keep one of the two", key)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse(problem: str, place: Any) -> None:
    raise yaml.constructor.ConstructorError(None, None, problem, place.start_mark)


def _place(error: Exception) -> str:
    """ ", line n: problem"; the parser's own message goes over several lines and repeats the file's content."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    line = f", line {mark.line + 1}" if mark is not None else ""
    text = str(problem or error).splitlines()[0] if str(problem or error) else "unreadable"
    hint = "; indent with spaces" if "\\t" in text else ""
    return f"{line}: {text[:200]}{hint}"
