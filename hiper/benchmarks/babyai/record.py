"""BabyAI's record: what anybody outside this package may ask of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hiper.benchmarks.babyai.settings import BabyaiSettings
from hiper.benchmarks.babyai.words import WORDS
from hiper.benchmarks.base import TextEnvironment
from hiper.benchmarks.experts import Expert
from hiper.benchmarks.seeded import Game, GameEnvironment, SeededBenchmark, SeededRecord
from hiper.trajectory import Task


class Babyai(SeededRecord[BabyaiSettings]):
    name = "babyai"
    settings = BabyaiSettings
    words = WORDS
    first_action = "turn left"
    tokens = (400, 30)
    packages = ("gymnasium", "minigrid")

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


RECORD = Babyai()
