"""BabyAI's record: what anybody outside this package may ask of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np

from hiper.benchmarks.babyai.settings import BabyaiSettings, Level
from hiper.benchmarks.babyai.view import COLOURS, KINDS
from hiper.benchmarks.babyai.words import WORDS
from hiper.benchmarks.base import TextEnvironment
from hiper.benchmarks.experts import Expert
from hiper.benchmarks.game import Game, GameEnvironment
from hiper.benchmarks.record import TokenNames
from hiper.benchmarks.seeded import SeededBenchmark, SeededRecord
from hiper.trajectory import Task


class Babyai(SeededRecord[BabyaiSettings]):
    name = "babyai"
    settings = BabyaiSettings
    words = WORDS
    first_action = "turn left"
    # characters of full texts in play with the expert, 1,680 and 90 on average, at 3.5 characters a token
    tokens = (480, 25)
    packages = ("gymnasium", "minigrid")
    labels: ClassVar = {level: level for level in get_args(Level)}  # by difficulty

    def make_data(self, settings: BabyaiSettings, output: Path) -> None:
        from hiper.benchmarks.babyai.dataset import make_dataset

        make_dataset(settings, output)

    def open(self, settings: BabyaiSettings, data_root: Path) -> SeededBenchmark:
        from hiper.benchmarks.babyai.dataset import read_missions
        from hiper.benchmarks.babyai.game import BabyaiGame

        missions = read_missions(data_root / settings.dataset)

        def make() -> TextEnvironment:
            return GameEnvironment(BabyaiGame(settings, missions), settings.max_turns, settings.success_reward)

        return SeededBenchmark(settings, data_root, make)

    def game(self, settings: BabyaiSettings) -> Game:
        from hiper.benchmarks.babyai.game import BabyaiGame

        return BabyaiGame(settings, None)

    def expert(self, task: Task, instruction: str, random: np.random.Generator, hesitation: float) -> Expert:
        from hiper.benchmarks.babyai.expert import BabyaiExpert

        return BabyaiExpert(task, random, hesitation)

    def token_names(self, texts: Sequence[str], size: int) -> TokenNames:
        """An object with its colour may be one token, and so may a distance with its direction: a small model finds
        what the mission names among the objects by one token, and where it is right behind it."""
        things = rf" ?(?:{'|'.join(COLOURS)}) (?:{'|'.join(KINDS.values())})"
        places = r" ?\d+ (?:ahead|behind|left|right)"
        return TokenNames(rf"{things}|{places}| ?[a-zA-Z]+| ?\d+")


RECORD = Babyai()
