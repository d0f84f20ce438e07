"""Settings of ALFWorld: what is played, and what its data sets are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from hiper.config.benchmark import BenchmarkSettings, Splits
from hiper.fields import Count, CountOrZero, Distinct, PathText, Settings

Split = Literal["train", "valid_seen", "valid_unseen"]
TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]


class AlfworldSplits(Splits[Split]):
    """By a name of its own, which a process that is started needs."""


class Generation(Settings):
    """Games made from the room layouts of the alfworld package (used when `data.source` comes to `generate`)."""

    seed: CountOrZero
    receptacles: Count | None  # per room; None: as many as the room has
    objects: Count | None  # further objects per room; None: as crowded as the real rooms
    train: CountOrZero
    valid_seen: CountOrZero
    valid_unseen: CountOrZero


class Data(Settings):
    """Where the games come from. `auto` takes the first source that applies: folder, archives, download, generate."""

    source: Literal["auto", "folder", "archives", "download", "generate"]
    folder: PathText | None  # a folder in ALFWorld's layout; None: $ALFWORLD_DATA
    archives: Annotated[list[PathText], Distinct]  # local .tar.xz/.tar.gz/.zip files
    generate: Generation


class AlfworldSettings(BenchmarkSettings):
    name: Literal["alfworld"]
    game_engine: Literal["native", "textworld"]
    task_types: Annotated[list[TaskType], Field(min_length=1), Distinct]
    splits: AlfworldSplits
    data: Data

    @property
    def data_seed(self) -> int:
        return self.data.generate.seed

    def split_size(self, split: str) -> int:
        return int(getattr(self.data.generate, split))

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        """Those that generation would leave empty."""
        if self.data.source == "generate":
            for split in ("train", "valid_seen", "valid_unseen"):
                if self.split_size(split) == 0:
                    yield split, f"data.generate.{split}"
