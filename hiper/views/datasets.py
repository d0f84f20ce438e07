"""What `hiper doctor` says of a benchmark's data set: whole, damaged, or not made yet and where it would come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hiper.config import AlfworldSettings, BenchmarkSettings
from hiper.errors import UserError
from hiper.manifest import data_source
from hiper.paths import expanded
from hiper.views.machine import Finding, State

VARIABLES = {"alfworld": "ALFWORLD_DATA", "webshop": "WEBSHOP_DATA"}


def data_finding(
    benchmark: BenchmarkSettings, root: Path, lacking: State, used: Sequence[str] | None = None
) -> Finding:
    """`lacking` is the state of a data set that cannot be used or made; `used`: the data's splits that must have tasks
    (None: all that the benchmark names)."""
    name, folder = benchmark.dataset, root / "data" / benchmark.dataset
    command = f"hiper data repro {name}"
    if (folder / "dataset.json").exists():
        try:
            content, absent, empty = _content(benchmark, folder, used)
            source = data_source(root / "data", name) or "unknown"
        except UserError as error:
            return Finding("Data", name, lacking, str(error), f"{command} makes it again")
        if absent:
            remedy = f"{command} makes it again"
            return Finding("Data", name, lacking, f"{absent} of {content} are gone", remedy)
        if empty:
            detail = f"{content}, none in the split {', '.join(empty)} of the task types asked for"
            remedy = f"complete its source, then {command} --force; or change the benchmark's file"
            return Finding("Data", name, lacking, detail, remedy)
        return Finding("Data", name, "ok", f"{content}, source: {source}{_fewer(benchmark, folder, source)}")
    try:
        origin, obtainable = _origin(benchmark, root)
    except UserError as error:
        origin, obtainable = str(error), False
    if obtainable:
        return Finding("Data", name, "optional", f"not made yet; will come from {origin}", f"{command} (a run does it)")
    return Finding("Data", name, lacking, f"not made yet, and {origin}", "see configs/benchmark/ and the README")


def _content(benchmark: BenchmarkSettings, folder: Path, used: Sequence[str] | None) -> tuple[str, int, list[str]]:
    """What the folder holds, in words, how many of its games are gone, and which splits that are used have no task;
    UserError where it is damaged."""
    used = used or [benchmark.splits.train, *benchmark.splits.evaluation.values()]
    if isinstance(benchmark, AlfworldSettings):
        from hiper.benchmarks.alfworld.games import GAME_FILE, read_index

        index = read_index(folder)
        games = [game for split in index.values() for game in split]
        content = f"{len(games)} games"
        absent = sum(not (game.folder / GAME_FILE).is_file() for game in games)
        tasks = {
            split: [game for game in index.get(split, []) if game.task_type in benchmark.task_types] for split in used
        }
    else:
        from hiper.benchmarks.webshop.dataset import describe

        found, absent = describe(folder), 0
        unreachable = found.counts["goals"] - found.counts["reachable"]
        limited = f" ({unreachable} of them cannot be won with their own product)" if unreachable else ""
        content = f"{found.counts['products']} products, {found.counts['goals']} goals{limited}, nouns: {found.tagger}"
        categories = {split: found.splits[split]["categories"] for split in used}
        tasks = {split: [kind for kind in benchmark.task_types if categories[split].get(kind)] for split in used}
    return content, absent, [split for split, those in tasks.items() if not those]


def _fewer(benchmark: BenchmarkSettings, folder: Path, source: str) -> str:
    """How many games the official data have where these are fewer, though they were not generated."""
    if not isinstance(benchmark, AlfworldSettings) or source == "generate":
        return ""
    from hiper.benchmarks.alfworld.games import read_index
    from hiper.benchmarks.alfworld.sources import fewer_games

    counts = {split: len(games) for split, games in read_index(folder).items()}
    listed = fewer_games(counts, benchmark.task_types)
    return f"; fewer than the official games: {listed}" if listed else ""


def _origin(benchmark: BenchmarkSettings, root: Path) -> tuple[str, bool]:
    """Where the data would come from, and whether that is at hand; archives are not opened."""
    data, variable = benchmark.data, VARIABLES[benchmark.name]
    archives = benchmark.data.archives if isinstance(benchmark, AlfworldSettings) else []
    here = [archive for archive in archives if (root / expanded(archive, "data.archives")).exists()]
    complete = bool(here) and len(here) == len(archives)
    if data.source in ("auto", "folder"):
        try:
            folder = _folder(benchmark)
        except UserError as error:
            return str(error), False
        if folder is not None:
            return f"the folder {folder}", True
    if data.source == "folder":
        return f"no folder is named: set data.folder or ${variable}", False
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


def _folder(benchmark: BenchmarkSettings) -> Path | None:
    """The folder named as the source, opened; None where none is named, UserError where it does not serve."""
    if isinstance(benchmark, AlfworldSettings):
        from hiper.benchmarks.alfworld.games import GAME_FILE, SPLITS, walk
        from hiper.benchmarks.alfworld.sources import games_folder

        root = games_folder(benchmark.data)
        for split in SPLITS if root else ():
            if not any(GAME_FILE in files for _, files in walk(root / split)):
                raise UserError(f"{root / split} has no {GAME_FILE}")
        return root
    from hiper.benchmarks.webshop.sources import files_in_folder

    raw = files_in_folder(benchmark.data)
    return None if raw is None else raw.items.parent
