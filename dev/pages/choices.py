"""The configuration files that an experiment may name, each with what its first comment says, as Markdown."""

from __future__ import annotations

from pathlib import Path

from dev.pages.remarks import yaml_remarks

ROOT = Path(__file__).resolve().parents[2]


def markdown(folder: str) -> str:
    """The files of `configs/<folder>`."""
    paths = sorted((ROOT / "configs" / folder).glob("*.yaml"))
    return "\n".join(["| name | what it is |", "|---|---|", *(f"| `{path.stem}` | {_said(path)} |" for path in paths)])


def _said(path: Path) -> str:
    return yaml_remarks(path).get("", "").replace("|", "\\|")
