"""What a stage ran on, as manifests tell it: no host name, nothing that identifies a machine."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

GIB = 1 << 30


def hardware(device: str) -> dict[str, Any]:
    """Processor, cores that this process may use and memory in GiB, None where the system does not say; the names of
    the GPUs that it sees where it computes on `device` cuda."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "gpus": _gpus() if device == "cuda" else [],
    }


def _processor() -> str | None:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None) or platform.processor() or platform.machine() or None


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB)
    except (ValueError, OSError, AttributeError):
        return None


def _gpus() -> list[str]:
    """Of torch, which whoever computes on a GPU has imported."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_name(number)) for number in range(torch.cuda.device_count())]
