"""ALFWorld's record: what anybody outside this package may ask of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from hiper.benchmarks.alfworld.settings import AlfworldSettings
from hiper.benchmarks.alfworld.words import WORDS
from hiper.benchmarks.base import Benchmark
from hiper.benchmarks.experts import Expert
from hiper.benchmarks.record import BenchmarkRecord, Contents, Origin, TokenNames, origin_of_files
from hiper.errors import UserError
from hiper.trajectory import Task


class Alfworld(BenchmarkRecord[AlfworldSettings]):
    name = "alfworld"
    settings = AlfworldSettings
    words = WORDS
    first_action = "look"
    # characters of this project's full texts in play, 1,780 on average, at 3.5 characters a token, which is assumed;
    # responses: the authors' logs, 35 to 42
    tokens = (510, 40)
    labels: ClassVar = {
        "pick_and_place_simple": "Pick",
        "look_at_obj_in_light": "Look",
        "pick_clean_then_place_in_recep": "Clean",
        "pick_heat_then_place_in_recep": "Heat",
        "pick_cool_then_place_in_recep": "Cool",
        "pick_two_obj_and_place": "Pick2",
    }
    published = Path(__file__).with_name("published.yaml")
    packages = ("alfworld", "textworld")
    variable = "ALFWORLD_DATA"

    def make_data(self, settings: AlfworldSettings, output: Path) -> None:
        from hiper.benchmarks.alfworld.sources import make_dataset

        make_dataset(settings.dataset, settings.data, settings.task_types, output)

    def open(self, settings: AlfworldSettings, data_root: Path) -> Benchmark:
        from hiper.benchmarks.alfworld.environment import AlfworldBenchmark

        return AlfworldBenchmark(settings, data_root)

    def expert(self, task: Task, instruction: str, random: np.random.Generator, hesitation: float) -> Expert:
        from hiper.benchmarks.alfworld.expert import AlfworldExpert

        return AlfworldExpert(instruction, random, hesitation)

    def contents(self, settings: AlfworldSettings, folder: Path, used: Sequence[str]) -> Contents:
        from hiper.benchmarks.alfworld.games import GAME_FILE, read_index
        from hiper.benchmarks.alfworld.sources import fewer_games
        from hiper.manifest import data_source

        index = read_index(folder)
        games = [game for split in index.values() for game in split]
        absent = sum(not (game.folder / GAME_FILE).is_file() for game in games)
        wanted = Counter(game.split for game in games if game.task_type in settings.task_types)
        listed = ""
        if data_source(folder.parent, folder.name) != "generate":
            listed = fewer_games({split: len(found) for split, found in index.items()}, settings.task_types)
        remark = f"; fewer than the official games: {listed}" if listed else ""
        return Contents(f"{len(games)} games", absent, [split for split in used if not wanted[split]], remark)

    def origin(self, settings: AlfworldSettings, root: Path) -> Origin:
        data = settings.data
        return origin_of_files(data.source, lambda: _folder(settings), self.variable, root, data.archives)

    def token_names(self, texts: Sequence[str], size: int) -> TokenNames:
        """Every lower-case word followed by a number; everything between may merge across words."""
        names = entity_names(texts)
        pattern = rf"\b(?:{'|'.join(map(re.escape, names))})\b| ?\d+" if names else r" ?\d+"
        return TokenNames(pattern, names)


def entity_names(texts: Sequence[str]) -> list[str]:
    """Lower-case words that stand before a number anywhere in `texts`, sorted, longest first."""
    counts = Counter(name for text in texts for name in re.findall(r"\b([a-z]{2,}) \d+\b", text))
    counts.pop("step", None)
    return sorted(counts, key=lambda name: (-len(name), name))


def _folder(settings: AlfworldSettings) -> Path | None:
    from hiper.benchmarks.alfworld.games import GAME_FILE, SPLITS, walk
    from hiper.benchmarks.alfworld.sources import games_folder

    root = games_folder(settings.data)
    for split in SPLITS if root else ():
        if not any(GAME_FILE in files for _, files in walk(root / split)):
            raise UserError(f"{root / split} has no {GAME_FILE}")
    return root


RECORD = Alfworld()
