"""What `hiper doctor` says about the machine and the software on it, apart from any project files but the pins.

Everything here is read, nothing is changed, and no network is used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

State = Literal["ok", "missing", "optional"]

MIB, GB = 1 << 20, 10**9
DISK_NEEDED = 5 * GB  # environment, games and the demo's results
MEMORY_NEEDED = 4 * GB  # two of the demo's jobs side by side
SECONDS = 3.0  # for any other program that is asked
PINS = "envs/constraints.txt"
SETUP = "make setup"
EXTRA = f"pip install -c {PINS} -e '.[{{}}]'"  # what setting up leaves out, or has installed long ago
DEBIAN = "on Debian and Ubuntu: apt install"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `missing` keeps what was asked about from running here, `optional` does not; `remedy` says
    how to get it ("" where nothing need be done)."""

    section: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(root: Path) -> Iterator[Finding]:
    """Software, tools and hardware."""
    yield _python()
    packages = list(_packages(root))
    yield from packages
    yield from _tools(installed=all(finding.state == "ok" for finding in packages))
    yield from _hardware(root)
    yield from torch_and_gpus()
    yield _slurm()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding("Software", "Python", "ok", version)
    return Finding(
        "Software", "Python", "missing", version, f"3.11 or 3.12 is needed; {DEBIAN} python3.11-venv, {SETUP}"
    )


def pins(root: Path) -> dict[str, str]:
    """Package name (as metadata spells it, lower case, dashes) to pinned version."""
    path = root / PINS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = (re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+).*", line) for line in lines)
    return {_canonical(match[1]): match[2] for match in found if match}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages(root: Path) -> Iterator[Finding]:
    """The packages that hiper itself names, and any whose version is not the pinned one."""
    wanted, pinned = pins(root), "as pinned"
    if not wanted:
        yield Finding("Software", "pins", "optional", f"no {PINS} here", "run this in the project's root")
    described = (found.metadata for found in metadata.distributions())
    installed = {_canonical(found["Name"]): found["Version"] for found in described if found["Name"]}
    needed, extras = _required()
    if absent := sorted(needed - installed.keys()):
        yield Finding("Software", "packages", "missing", f"not installed: {', '.join(absent)}", SETUP)
    for extra, further in extras.items():
        if absent := sorted(further - installed.keys()):
            detail, remedy = f"not installed: {', '.join(absent)}", EXTRA.format(extra)
            yield Finding("Software", f"extra {extra}", "optional", detail, remedy)
    other = [
        f"{name} {installed[name]} (pinned: {version})"
        for name, version in sorted(wanted.items())
        if name in installed and installed[name].partition("+")[0] != version.partition("+")[0]
    ]
    if other:
        shown = ", ".join(other[:6]) + (f" and {len(other) - 6} more" if len(other) > 6 else "")
        yield Finding(
            "Software", "versions", "optional", shown, f"{SETUP} (results may differ from the documented ones)"
        )
        pinned = f"{len(other)} with another version than pinned"
    if not needed - installed.keys():
        yield Finding("Software", "packages", "ok", f"{len(needed)} that hiper imports, {pinned}")


def _required() -> tuple[set[str], dict[str, set[str]]]:
    """Packages that hiper needs, and those of each of its extras."""
    try:
        lines = metadata.requires("hiper") or []
    except metadata.PackageNotFoundError:
        lines = []
    needed: set[str] = set()
    extras: dict[str, set[str]] = {}
    for line in lines:
        if match := re.match(r"[A-Za-z0-9._-]+", line):
            extra = re.search(r"extra == ['\"]([^'\"]+)", line)
            (extras.setdefault(extra[1], set()) if extra else needed).add(_canonical(match[0]))
    return needed, extras


def _tools(installed: bool) -> Iterator[Finding]:
    """Programs of the system. The compiler builds packages: not needed once they are installed."""
    purposes: dict[str, tuple[str, State]] = {
        "git": ("names the commit in every run's manifest", "optional"),
        "make": ("the project's commands", "missing"),
        "c++": ("builds two packages from source", "optional" if installed else "missing"),
        "cmake": ("builds two packages from source; setting up brings it if it is not there", "optional"),
    }
    for name, (purpose, lacking) in purposes.items():
        package = "g++" if name == "c++" else name
        if shutil.which(name):
            yield Finding("Software", name, "ok", _first_line(name, "--version"))
        else:
            yield Finding("Software", name, lacking, purpose, f"{DEBIAN} {package}")


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return "does not answer"
    return (done.stdout.strip().splitlines() or [""])[0]


def _hardware(root: Path) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("Machine", "CPU cores", "ok", f"{cores} for this process (the demo is made for 2)")
    memory = _memory()
    few = memory < MEMORY_NEEDED
    advice = "close other programs, or run one job at a time: snakemake --cores 1" if few else ""
    yield Finding("Machine", "memory", "optional" if few else "ok", f"{memory / GB:.1f} GB", advice)
    free = shutil.disk_usage(root).free
    short = free < DISK_NEEDED
    advice = f"free {DISK_NEEDED // GB} GB for the environment, games and results" if short else ""
    yield Finding("Machine", "disk", "optional" if short else "ok", f"{free / GB:.1f} GB free below {root}", advice)


def _memory() -> int:
    """Bytes, no more than a container allows."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(name).read_text()))
        except (OSError, ValueError):
            continue
    return total


def torch_and_gpus() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("Machine", "torch", "missing", f"cannot be imported: {error}", SETUP)
        return
    yield Finding("Machine", "torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads by default")
    flags = _cpu_flags()
    fast = bool(flags & {"amx_bf16", "avx512_bf16"})
    yield Finding("Machine", "bfloat16 on the CPU", "ok", "in hardware" if fast else "emulated (slow); float32 is used")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number in range(count):
        found = torch.cuda.get_device_properties(number)
        yield Finding("Machine", f"GPU {number}", "ok", f"{found.name}, {found.total_memory / GB:.0f} GB{_driver()}")
    if not count:
        yield _no_gpu(built=torch.version.cuda is not None)


def gpu_sizes() -> list[int]:
    """Bytes of memory of each GPU that torch can use; none without torch."""
    try:
        import torch
    except (ImportError, OSError):
        return []
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [int(torch.cuda.get_device_properties(number).total_memory) for number in range(count)]


def listed_gpus() -> list[int]:
    """The same as the driver lists them, without torch, which takes seconds to import."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10 * SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [int(line) * MIB for line in done.stdout.splitlines() if line.strip().isdecimal()]


def _no_gpu(built: bool) -> Finding:
    if not shutil.which("nvidia-smi"):
        return Finding("Machine", "GPU", "optional", "none", "experiments with engine cuda need a machine with one")
    if built:
        return Finding("Machine", "GPU", "optional", "torch sees none, nvidia-smi is there", "check with nvidia-smi")
    return Finding("Machine", "GPU", "optional", "this torch is built for the CPU", "install the CUDA build of torch")


def _driver() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    return f", driver {_first_line('nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader')}"


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())


def _slurm() -> Finding:
    absent = [name for name in ("sbatch", "squeue", "sacct") if not shutil.which(name)]
    if not absent:
        return Finding("Machine", "Slurm", "ok", "its commands are there")
    detail = f"no {', '.join(absent)}"
    return Finding("Machine", "Slurm", "optional", detail, "only runs on a cluster need it: log in to its head node")
