"""Settings of the benchmarks: what is played, and what the data sets are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from hiper.fields import Count, CountOrZero, Distinct, PathText, Positive, Settings

AlfworldSplit = Literal["train", "valid_seen", "valid_unseen"]
WebshopSplit = Literal["train", "dev", "test"]
TaskType = Literal[
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
]
Category = Literal["beauty", "electronics", "fashion", "garden", "grocery"]
SplitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
DataSplit = TypeVar("DataSplit")


class Splits(Settings, Generic[DataSplit]):
    """Which of the data's splits each stage uses; those of `evaluation` by the name they have in tables."""

    train: DataSplit
    evaluation: Annotated[dict[SplitName, DataSplit], Field(min_length=1)]

    @model_validator(mode="after")
    def apart(self) -> Splits[DataSplit]:
        used = [self.train, *self.evaluation.values()]
        if len(set(used)) < len(used):
            raise ValueError(
                "splits.train and all of splits.evaluation must be different splits of the data: a shared one leaks "
                "training tasks"
            )
        if "train" in self.evaluation:
            raise ValueError("splits.evaluation must not call a split 'train', which is the name of the training split")
        return self

    def named(self, name: str) -> DataSplit:
        """The data's split behind "train" or a name of `evaluation`; KeyError for another."""
        return self.train if name == "train" else self.evaluation[name]


class AlfworldSplits(Splits[AlfworldSplit]):
    pass


class WebshopSplits(Splits[WebshopSplit]):
    pass


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


class AlfworldSettings(Settings):
    name: Literal["alfworld"]
    dataset: str  # the folder `data/<dataset>`; equal to the configuration file's name
    game_engine: Literal["native", "textworld"]
    task_types: Annotated[list[TaskType], Field(min_length=1), Distinct]
    max_turns: Count
    success_reward: Positive
    splits: AlfworldSplits
    data: Data

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        """(data split, setting that is 0) of the splits that generation would leave empty."""
        if self.data.source == "generate":
            for split in ("train", "valid_seen", "valid_unseen"):
                if getattr(self.data.generate, split) == 0:
                    yield split, f"data.generate.{split}"


class Catalogue(Settings):
    """Products made here, in the schema of the original's files (used when `data.source` comes to `generate`)."""

    seed: CountOrZero
    products: Count


class Goals(Settings):
    """Which shopping goals there are, and in what order.

    `order`: `fixed`, the same everywhere, its splits disjoint; `original`, WebShop's own shuffle with the draws its
    code leaves unseeded made from `seed`; `hiper`, the order of a HiPER environment whose seed is `seed`. The first
    `test` goals are the split test, the next `dev` dev, the others train.
    """

    kind: Literal["synthetic", "human"]
    order: Literal["fixed", "original", "hiper"]
    seed: CountOrZero
    test: Count
    dev: CountOrZero


class WebshopData(Settings):
    """Where the products come from. `auto` takes the first source that applies: folder, download, generate."""

    source: Literal["auto", "folder", "download", "generate"]
    folder: PathText | None  # holds WebShop's own files; None: $WEBSHOP_DATA
    products: Literal["small", "full"]  # 1,000 or 1.18 million; of folder and download
    generate: Catalogue
    goals: Goals


class WebshopSettings(Settings):
    name: Literal["webshop"]
    dataset: str  # the folder `data/<dataset>`; equal to the configuration file's name
    mode: Literal["strict", "exact"]  # exact: the original's crashes and leaks too, see docs/deviations.md
    task_types: Annotated[list[Category], Field(min_length=1), Distinct]  # the goal product's category
    max_turns: Count
    success_reward: Positive
    reward: Literal["success", "score"]  # success: all or nothing at the purchase; score: in proportion to its score
    splits: WebshopSplits
    data: WebshopData

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        """(data split, setting that is 0) of the splits that would be empty."""
        if self.data.goals.dev == 0:
            yield "dev", "data.goals.dev"


BenchmarkSettings = AlfworldSettings | WebshopSettings
BENCHMARKS: dict[str, type[AlfworldSettings] | type[WebshopSettings]] = {
    "alfworld": AlfworldSettings,
    "webshop": WebshopSettings,
}
