"""Do the descriptions of the environment in this folder say the same as `pyproject.toml` and `constraints.txt`?

`python envs/environments.py` prints what disagrees (exit status 1); with `--write` it makes the conda files from the
constraints first. The standard library and PyYAML are all it needs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONDA = {
    "cpu": (
        "constraints.txt",
        "Without vLLM; the same pin of torch serves its CPU and its CUDA build (README.md).",
    ),
    "gpu": ("gpu.txt", "With vLLM, for machines with an NVIDIA GPU: the ordinary build of torch brings CUDA."),
}
# What the Makefile takes from the system, from conda-forge.
SYSTEM = ["python=3.11", "cmake=3.31", "cxx-compiler", "git", "make", "pip"]
HEAD = """\
# {said}
# Made from {source} by `python envs/environments.py --write`, for `conda env create` (README.md). Not tried yet.
"""


def pins(path: Path) -> dict[str, str]:
    """Package to version, of a constraints file; ValueError for a line that pins nothing."""
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+)(?:\s*;.*)?", text)
        if match is None:
            raise ValueError(f"{path.name}:{number}: {text!r} is no `package==version`")
        name = canonical(match[1])
        if name in found:
            raise ValueError(f"{path.name}:{number}: {name} is pinned twice")
        found[name] = match[2]
    return found


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    values: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return values


def wanted(extras: bool = True) -> set[str]:
    """What pyproject.toml names, its extras included."""
    values = project()
    lines = list(values["dependencies"])
    if extras:
        lines += [line for group in values["optional-dependencies"].values() for line in group]
    return {canonical(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in lines}  # type: ignore[index]


def conda_text(kind: str) -> str:
    source, said = CONDA[kind]
    packages = [f"{name}=={version}" for name, version in pins(ROOT / "envs" / source).items()]
    content = {
        "name": f"hiper-{kind}",
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": [*SYSTEM, {"pip": packages}],
    }
    return HEAD.format(said=said, source=source) + yaml.safe_dump(content, sort_keys=False, width=120)


def problems() -> Iterator[str]:
    """Every disagreement, one line each."""
    folder = ROOT / "envs"
    constraints = pins(folder / "constraints.txt")
    for name in sorted(wanted() - constraints.keys()):
        yield f"constraints.txt: {name}, which pyproject.toml names, is not pinned"
    for path in sorted(folder.glob("*.txt")):
        try:
            others = pins(path)
        except ValueError as error:
            yield str(error)
            continue
        for name in sorted(others.keys() & constraints.keys()):
            if others[name] != constraints[name]:
                yield f"{path.name}: {name} {others[name]}, but constraints.txt has {constraints[name]}"
        if path.name == "gpu.txt":
            for name in sorted(wanted(extras=False) - others.keys()):
                yield f"gpu.txt: {name}, which pyproject.toml names, is not pinned"
    for kind in CONDA:
        path = folder / f"conda-{kind}.yaml"
        if not path.exists() or path.read_text(encoding="utf-8") != conda_text(kind):
            yield f"{path.name}: not what {CONDA[kind][0]} makes; run `python envs/environments.py --write`"
    for name in ("Dockerfile", "hiper.def"):
        yield from (f"{name}: {problem}" for problem in recipe_problems((folder / name).read_text(encoding="utf-8")))


def recipe_problems(text: str) -> Iterator[str]:
    """What a container recipe does otherwise than the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in re.findall(r"^ *(?:RUN )?pip install .*$", text, flags=re.MULTILINE):
        if not re.search(r'-c "envs/(\$PINS|\{\{ PINS \}\})"', line):
            yield f"installs without the constraints: {line.strip()}"
    extras = set(re.findall(r"-e '\.\[([a-z,]+)\]'", text))
    for extra in {name for group in extras for name in group.split(",")} - project()["optional-dependencies"].keys():
        yield f"installs the extra {extra}, which pyproject.toml does not have"
    if not re.search(r"^(ARG| {3}) ?PINS=constraints\.txt$", text, flags=re.MULTILINE):
        yield "does not take constraints.txt when nothing is said"
    if not extras:
        yield "does not install the project"
    low, high = re.findall(r"3\.(\d+)", project()["requires-python"])
    version = re.search(r"python:3\.(\d+)-", text)
    if version is None or not int(low) <= int(version[1]) < int(high):
        yield f"its Python is not one of {project()['requires-python']}"
    for name, value in re.findall(r"^export (CMAKE_\w+|DS_\w+) := (\S+)$", makefile, flags=re.MULTILINE):
        if f"{name}={value}" not in text:
            yield f"does not set {name}={value}, as the Makefile does"
    for package in ("cmake", "g++", "git", "make"):
        if not re.search(rf"apt-get install .*\s{re.escape(package)}(\s|$)", text):
            yield f"does not install {package}"


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        for kind in CONDA:
            (ROOT / "envs" / f"conda-{kind}.yaml").write_text(conda_text(kind), encoding="utf-8")
    elif arguments:
        sys.exit(__doc__)
    found = list(problems())
    print("\n".join(found) if found else "the environments agree")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
