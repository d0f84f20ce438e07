"""Pages about contracts: what the classes and functions of a module are called, take and promise, as Markdown for the
site. The source is parsed and not imported, so that a page needs none of the module's libraries."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

from dev.pages.remarks import remark

ROOT = Path(__file__).resolve().parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def markdown(module: str, names: list[str]) -> str:
    """The module's docstring, then each of `names`; KeyError for a name that the module does not define."""
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    found = dict(_named(tree.body))
    lines = [f"```{{py:module}} {module}", "```", "", ast.get_docstring(tree) or "", ""]
    for name in names:
        lines += _documented(source, name, *found[name])
    return "\n".join(lines)


def _named(body: list[ast.stmt]) -> Iterator[tuple[str, tuple[ast.stmt, str]]]:
    """Name, definition and documentation of what a module or class defines; that of a variable is the text behind it,
    or the comments beside it."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node, ast.get_docstring(node) or "")
            continue
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        else:
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            text = cleandoc(after.value.value)
        yield name, (node, text)


def _documented(source: str, name: str, node: ast.stmt, text: str, inside: bool = False) -> list[str]:
    """The directive of a definition, those of a class's public parts within it."""
    inner: list[str] = []
    if isinstance(node, ast.ClassDef):
        kind, head = "class", name + (f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else "")
        for part, (definition, said) in _named(node.body):
            if not part.startswith("_"):
                inner += _documented(source, part, definition, said, inside=True)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        marks = {ast.unparse(one) for one in node.decorator_list}
        kind = "property" if "property" in marks else "method" if inside else "function"
        head = name if kind == "property" else name + _signature(node, bound=inside and "staticmethod" not in marks)
        options = [option for mark, option in OPTIONS.items() if mark in marks]
        if kind == "property" and node.returns is not None:
            options.append(f":type: {ast.unparse(node.returns)}")
        return _directive(kind, head, options, text, [])
    else:
        kind, head = ("attribute" if inside else "data"), name
        text = text or _sentence(remark(source, node))
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        value = getattr(node, "value", None)
        options = [f":type: {ast.unparse(annotation)}"] if annotation is not None else []
        if value is not None and len(shown := ast.unparse(value)) <= LONGEST:
            options.append(f":value: {shown}")
        return _directive(kind, head, options, text, [])
    return _directive(kind, head, [], text, inner)


OPTIONS = {"abstractmethod": ":abstractmethod:", "classmethod": ":classmethod:", "staticmethod": ":staticmethod:"}
LONGEST = 90  # characters of a value that is shown


def _signature(node: Function, bound: bool) -> str:
    arguments = ast.parse(ast.unparse(node)).body[0].args  # type: ignore[attr-defined]  # a copy
    if bound:
        (arguments.posonlyargs or arguments.args).pop(0)
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return f"({ast.unparse(arguments)}){returns}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _directive(kind: str, head: str, options: list[str], text: str, inner: list[str]) -> list[str]:
    """A directive of Sphinx's Python domain, fenced so that those within it end where they should."""
    fence = ":" * (max((len(line) - len(line.lstrip(":")) for line in inner), default=2) + 1)
    return ["", f"{fence}{{py:{kind}}} {head}", *options, "", *text.splitlines(), *inner, fence]
