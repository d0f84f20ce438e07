"""What code did it: the command, the commit, the versions of packages."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.plugins import ALGORITHMS, ENVIRONMENTS, known, load, package
from hiper.records import sha256_file, sha256_json, without_credentials

log = logging.getLogger(__name__)

NO_REPOSITORY = "not a git repository"  # as git says it
PACKAGES = (
    "dvc",
    "hydra-core",
    "mlflow",
    "numpy",
    "safetensors",
    "snakemake",
    "tokenizers",
    "torch",
    "transformers",
)


def command(root: Path) -> str:
    """The command line of this process, its program by name only, paths relative to `root`, without credentials."""
    program, *arguments = map(without_credentials, sys.argv)
    name = Path(program).name
    shown = [argument.replace(f"{root}/", "") for argument in arguments]
    # whatever absolute path is left lies outside the project: its last part says enough
    return shlex.join([name, *(Path(part).name if Path(part).is_absolute() else part for part in shown)])


def git_state(root: Path) -> dict[str, Any] | None:
    """Commit and whether tracked files differ from it; None outside a repository, without a commit or without git.

    `dvc.lock` does not count: what it says of the data stands in manifests by itself, and DVC writes it at any time.
    """
    state, reason = ask_git(root)
    if reason and NO_REPOSITORY not in reason:
        _warn_once(f"no commit can be recorded: {reason}")
    return state


def ask_git(root: Path) -> tuple[dict[str, Any] | None, str]:
    """As `git_state`, and why there is none in git's own words ("" where there is)."""
    try:
        # HEAD:./ is there when the commit has this folder: the project may lie inside of another repository
        commit = git(root, "rev-parse", "HEAD", "HEAD:./").split()[0]
        changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(exclude)dvc.lock")
        return {"commit": commit, "dirty": bool(changed)}, ""
    except UserError as error:
        return None, str(error)


def git(root: Path, *arguments: str) -> str:
    """What git answers; UserError with its status and message when it fails or is not there."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, env=environment, capture_output=True, encoding="utf-8", errors="replace"
        )
    except OSError as error:
        raise UserError(f"git cannot be started ({error.strerror})") from None
    if done.returncode:
        raise UserError(f"git ended with status {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


@cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


@cache
def code_hash(benchmark: str) -> str:
    """SHA-256 of the program's own modules and of the package that a benchmark comes from: whether a commit has them,
    or they were edited since, is no matter."""
    return sha256_json({"hiper": _modules("hiper"), "benchmark": benchmark_code(benchmark)})


def benchmark_code(benchmark: str) -> dict[str, str]:
    """SHA-256 of the Python files of the package that another's benchmark comes from, by their names within it; of ours
    nothing, because they are the program's own."""
    load(ENVIRONMENTS, benchmark)
    package = known(ENVIRONMENTS)[benchmark].partition(":")[0].partition(".")[0]
    return {} if package == "hiper" else _modules(package)


def _modules(package: str) -> dict[str, str]:
    """Of a package that is loaded, or of a module that is all there is."""
    module = sys.modules[package]
    files = [Path(str(module.__file__))]
    top = files[0].parent
    if hasattr(module, "__path__"):
        files = sorted(top.rglob("*.py"))
    return {path.relative_to(top).as_posix(): sha256_file(path) for path in files}


def package_versions(*runs: RunSettings) -> dict[str, str | None]:
    """Installed versions of the packages that results of these runs may depend on, without importing them: also those
    that their benchmarks and algorithms come from."""
    names = {*PACKAGES}
    for run in runs:
        offered = (package(ENVIRONMENTS, run.benchmark.name), package(ALGORITHMS, run.algorithm.name))
        names |= {*load(ENVIRONMENTS, run.benchmark.name).packages, *filter(None, offered)}
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def bfloat16_units() -> list[str]:
    """What this processor has for products in bfloat16, as Linux calls it. With nothing they are slower than in
    float32."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), flags=re.MULTILINE)
    except OSError:
        return []
    return sorted({"amx_bf16", "avx512_bf16"}.intersection(flags[1].split() if flags else ()))
