"""What `hiper doctor` says of a benchmark's data set: whole, damaged, or not made yet and where it would come from."""

from __future__ import annotations

import os
from pathlib import Path

from hiper.config import AlfworldSettings, BenchmarkSettings
from hiper.errors import UserError
from hiper.manifest import data_source
from hiper.paths import expanded
from hiper.views.machine import Finding, State

VARIABLES = {"alfworld": "ALFWORLD_DATA", "webshop": "WEBSHOP_DATA"}


def data_finding(benchmark: BenchmarkSettings, root: Path, lacking: State) -> Finding:
    """`lacking` is the state of a data set that cannot be used or made."""
    name, folder = benchmark.dataset, root / "data" / benchmark.dataset
    command = f"hiper data repro {name} (a run does it by itself)"
    if (folder / "dataset.json").exists():
        try:
            content, absent = _content(benchmark, folder)
            source = data_source(root / "data", name) or "unknown"
        except UserError as error:
            return Finding("Data", name, lacking, str(error), f"rm {folder / 'dataset.json'}; {command}")
        if absent:
            return Finding("Data", name, lacking, f"{absent} of {content} are gone", f"dvc checkout {folder}")
        return Finding("Data", name, "ok", f"{content}, source: {source}")
    try:
        origin, obtainable = _origin(benchmark, root)
    except UserError as error:
        origin, obtainable = str(error), False
    if obtainable:
        return Finding("Data", name, "optional", f"not made yet; will come from {origin}", command)
    return Finding("Data", name, lacking, f"not made yet, and {origin}", "see configs/benchmark/ and the README")


def _content(benchmark: BenchmarkSettings, folder: Path) -> tuple[str, int]:
    """What the folder holds, in words, and how much of it is missing; UserError where it is damaged."""
    if isinstance(benchmark, AlfworldSettings):
        from hiper.benchmarks.alfworld.games import read_index

        games = [game for split in read_index(folder).values() for game in split]
        return f"{len(games)} games", sum(not game.folder.is_dir() for game in games)
    from hiper.benchmarks.webshop.dataset import describe

    found = describe(folder)
    unreachable = found.counts["goals"] - found.counts["reachable"]
    limited = f" ({unreachable} of them cannot be won with their own product)" if unreachable else ""
    return f"{found.counts['products']} products, {found.counts['goals']} goals{limited}, nouns: {found.tagger}", 0


def _origin(benchmark: BenchmarkSettings, root: Path) -> tuple[str, bool]:
    """Where the data would come from, and whether that is at hand; nothing of it is opened."""
    data, variable = benchmark.data, VARIABLES[benchmark.name]
    archives = benchmark.data.archives if isinstance(benchmark, AlfworldSettings) else []
    folder, named = data.folder or os.environ.get(variable), "data.folder" if data.folder else variable
    here = [archive for archive in archives if (root / expanded(archive, "data.archives")).exists()]
    complete = bool(here) and len(here) == len(archives)
    if data.source in ("auto", "folder") and folder and expanded(folder, named).is_dir():
        return f"the folder {folder}", True
    if data.source == "folder" or (data.source == "auto" and folder):
        return f"its folder is not there: {folder or f'set data.folder or ${variable}'}", False
    if data.source in ("auto", "archives") and complete:
        return f"the archives {', '.join(here)}", True
    if data.source == "archives" or here:
        absent = ", ".join(archive for archive in archives if archive not in here)
        return f"archives are missing: {absent or 'none is named'}", False
    if data.source == "generate":
        return "generation", True
    ways = f"set ${variable}{', or put archives into downloads/' if archives else ''}"
    otherwise = "; without network, GENERATED data take their place" if data.source == "auto" else ""
    return f"the official download (or {ways}{otherwise})", True
