"""Settings of torch for a whole process: threads, determinism, the compiler, the allocator."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import os
import sys

import torch

from hiper.config import Engine
from hiper.errors import UserError
from hiper.learning import elementwise
from hiper.manifest import bfloat16_units

log = logging.getLogger(__name__)

# glibc's mallopt parameters
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def prepare(settings: Engine) -> str:
    """Set threads, determinism and the compiler once per process; returns the device."""
    if settings.device == "cpu" and settings.dtype == "bfloat16" and not bfloat16_units():
        log.warning("engine.dtype=bfloat16: this processor has no arithmetic of it; float32 is faster here")
    prepare_process(settings.device, settings.threads, settings.deterministic, settings.compiles)
    return settings.device


def prepare_process(device: str, threads: int, deterministic: bool = False, compiles: bool = False) -> None:
    """As `prepare`, for a process that has no run's settings. On a CPU an operation whose result could vary is an
    error; on a GPU with `deterministic` torch takes the repeatable form where there is one and else warns."""
    torch.set_num_threads(threads)
    # use_deterministic_algorithms would also set this for compiled models, and import the compiler: 2 s a process
    wanted = "warn" if deterministic else "default"
    if deterministic and device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it matrix products may vary
    torch.set_deterministic_debug_mode(wanted if device == "cuda" else "error")
    # would write NaN into every new tensor before its result is written; nothing here reads what it has not written
    torch.utils.deterministic.fill_uninitialized_memory = False
    _keep_freed_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "engine.device=cuda: torch sees no GPU here; use engine=cpu or check the driver with nvidia-smi"
        )
    if compiles:
        elementwise.compile_functions(device, repeatable=deterministic or device == "cpu")
    else:
        elementwise.compute_eagerly()


def card_memory(device: str) -> float | None:
    """Bytes of this process's GPU; None on a CPU."""
    return float(torch.cuda.mem_get_info()[1]) if device == "cuda" else None


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of returning them to the kernel: on small models page faults of fresh
    activations otherwise cost more than the arithmetic (measured: prefill 1.8 times faster). Other C libraries:
    nothing."""
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
        libc.mallopt(_M_TOP_PAD, 64 << 20)
