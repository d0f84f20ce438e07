"""Where the time of a side goes, measured: what a missed target is explained with."""

from __future__ import annotations

import cProfile
import pstats
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SHOWN = 5


def python_shares(run: Callable[[], object], repeats: int = 1) -> str:
    """The functions with the largest own time as "name 31 %, …"; the profiler's own cost weighs on small functions."""
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(repeats):
        run()
    profile.disable()
    rows = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    return _listed({_called(file, name): own for (file, _, name), (_, _, own, _, _) in rows})


def _called(file: str, name: str) -> str:
    """`module.function`; of functions written in C, which have no file, the last part of the name."""
    return f"{Path(file).stem}.{name}" if file != "~" else re.sub(r"^<(built-in )?method |( of .*)?>$|'", "", name)


def torch_shares(run: Callable[[], object], device: str) -> str:
    """The tensor operations with the largest own time, and what is left for Python, as "name 31 %, …".

    For runs of at most some thousand operations: reading the profile of more takes many seconds.
    """
    from torch.profiler import ProfilerActivity, profile

    before = time.perf_counter()
    run()
    spent = time.perf_counter() - before  # without the profiler, which weighs on Python and not on the operations
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device == "cuda" else [])
    with profile(activities=activities) as recorded:
        run()
    own = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    shares = {event.key.removeprefix("aten::"): getattr(event, own) / 1e6 for event in recorded.key_averages()}
    shares["Python and waiting"] = max(spent - sum(shares.values()), 0.0)
    return _listed(shares)


def padding_bound(run: Callable[[], object], lengths: Sequence[int], micro_batch: int, device: str) -> str:
    """Why packed rows of these lengths are not many times faster than padded ones, in micro-batches of so many rows;
    `run` is the packed side."""
    groups = [lengths[start : start + micro_batch] for start in range(0, len(lengths), micro_batch)]
    padding = sum(max(group) * len(group) for group in groups) / sum(lengths)
    return (
        f"the layers' own work on prompt tokens, which both sides do (padding adds {100 * (padding - 1):.0f} % more); "
        f"of ours: {torch_shares(run, device)}"
    )


def _listed(shares: dict[str, float]) -> str:
    total = sum(shares.values()) or 1.0
    largest = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN]
    return ", ".join(f"{name} {100 * own / total:.0f} %" for name, own in largest)
