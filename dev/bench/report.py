"""A benchmark's result for a person (tables), for a program (last line, JSON), and the machine it was measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dev.bench.measure import Comparison, Result, Spread
from hiper.records import write_json

PACKAGES = ("numpy", "torch", "transformers", "textworld")
SMALLEST_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def machine() -> dict[str, Any]:
    """Processor, cores this process may use, load while measuring, versions."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": usable,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(result: Result, console: Console) -> None:
    """Print everything; the last line is `summary(result)`."""
    console.print(f"[bold]{result.benchmark}[/bold]", highlight=False)
    for facts in (machine(), result.settings):
        console.print(", ".join(f"{name} {value}" for name, value in facts.items()), highlight=False, markup=False)
    for check in result.checks:
        console.print(f"same result: {check}", highlight=False, markup=False)
    for comparison in result.comparisons:
        if not comparison.brief:
            console.print(_table(comparison))
    if brief := [comparison for comparison in result.comparisons if comparison.brief]:
        console.print(_brief_table(brief))
    for target in result.targets:
        said = "met" if target.met else "missed"
        console.print(
            f"target {said}: {target.what}: {_plain(target.figure)}, wanted {target.wanted}",
            style="green" if target.met else "yellow",
            highlight=False,
            markup=False,
        )
        if target.bound and not target.met:
            console.print(f"  bounded by {target.bound}", highlight=False, markup=False)
    for note in result.notes:
        console.print(note, highlight=False, markup=False)
    console.print(summary(result), highlight=False, markup=False, soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    unit = comparison.unit
    table = Table(title=f"{comparison.title} ({comparison.rounds} rounds)", title_justify="left", title_style="")
    for name, justify in (
        ("", "left"),
        (f"median per {unit}", "right"),
        ("quartiles", "right"),
        ("per second", "right"),
        *((("peak memory", "right"),) if comparison.peaks else ()),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for side in comparison.seconds:
        spread = comparison.spread(side)
        quartiles = f"{_duration(spread.low)} – {_duration(spread.high)}"
        peak = [f"{comparison.peaks[side] / 1e9:.2f} GB"] if comparison.peaks else []
        table.add_row(side, _duration(spread.median), quartiles, _plain(1 / spread.median), *peak)
    for name, (over, under) in comparison.ratios.items():
        ratio = comparison.ratio(name)
        table.add_row(
            f"{over} / {under}", f"{_plain(ratio.median)} times", f"{_plain(ratio.low)} – {_plain(ratio.high)}"
        )
    return table


def _brief_table(comparisons: Sequence[Comparison]) -> Table:
    """One row each: the last side's time and the medians of all ratios."""
    first = comparisons[0]
    *_, last = first.seconds
    table = Table(
        title=f"ratios {', '.join(' / '.join(sides) for sides in first.ratios.values())}", title_justify="left"
    )
    for name, justify in (("", "left"), ("rounds", "right"), (f"median at {last}", "right"), ("ratios", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for comparison in comparisons:
        ratios = "  ".join(f"{comparison.ratio(name).median:.2f}" for name in comparison.ratios)
        table.add_row(comparison.title, str(comparison.rounds), _duration(comparison.spread(last).median), ratios)
    return table


def _duration(seconds: float) -> str:
    factor, unit = next((one for one in SMALLEST_UNITS if seconds >= one[0]), SMALLEST_UNITS[-1])
    return f"{seconds / factor:.3g} {unit}" if seconds / factor < 100 else f"{seconds / factor:.0f} {unit}"


def _plain(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def summary(result: Result) -> str:
    """One line of `key=value`: the ratios' medians (not of brief comparisons), the targets' figures, whether all were
    met."""
    words = [f"bench={result.benchmark}"]
    for comparison in result.comparisons:
        for name in () if comparison.brief else comparison.ratios:
            words.append(f"ratio[{_key(comparison.title)}:{_key(name)}]={comparison.ratio(name).median:.4g}")
    words += [f"target[{_key(target.what)}]={target.figure:.4g}" for target in result.targets]
    words.append(f"targets={'met' if result.met else 'missed'}")
    return " ".join(words)


def _key(text: str) -> str:
    return "_".join(re.findall(r"[^\W_]+", text))


def write(result: Result, path: Path) -> None:
    """Every figure as JSON, single rounds included."""
    comparisons = [
        {
            "title": comparison.title,
            "unit": comparison.unit,
            "seconds": {
                side: {"rounds": list(rounds), **_spread(comparison.spread(side)), **_peak(comparison, side)}
                for side, rounds in comparison.seconds.items()
            },
            "ratios": {
                name: {"of": list(sides), **_spread(comparison.ratio(name))}
                for name, sides in comparison.ratios.items()
            },
        }
        for comparison in result.comparisons
    ]
    content = {
        "benchmark": result.benchmark,
        "machine": machine(),
        "settings": dict(result.settings),
        "same_result": list(result.checks),
        "comparisons": comparisons,
        "targets": [vars(target) for target in result.targets],
        "notes": list(result.notes),
    }
    write_json(path, content)


def _spread(spread: Spread) -> dict[str, Any]:
    return {"median": spread.median, "quartiles": [spread.low, spread.high]}


def _peak(comparison: Comparison, side: str) -> dict[str, float]:
    return {"peak_bytes": comparison.peaks[side]} if comparison.peaks else {}
