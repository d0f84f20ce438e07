"""Settings of WebShop: what is played, and what its data sets are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from hiper.config.benchmark import BenchmarkSettings, Splits
from hiper.fields import Count, CountOrZero, Distinct, PathText, Settings

Split = Literal["train", "dev", "test"]
Category = Literal["beauty", "electronics", "fashion", "garden", "grocery"]


class WebshopSplits(Splits[Split]):
    """By a name of its own, which a process that is started needs."""


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


class WebshopSettings(BenchmarkSettings):
    name: Literal["webshop"]
    mode: Literal["strict", "exact"]  # exact: the original's crashes and leaks too, see docs/deviations.md
    task_types: Annotated[list[Category], Field(min_length=1), Distinct]  # the goal product's category
    reward: Literal["success", "score"]  # success: all or nothing at the purchase; score: in proportion to its score
    splits: WebshopSplits
    data: WebshopData

    @property
    def data_seed(self) -> int:
        return self.data.generate.seed

    def split_size(self, split: str) -> int:
        return int(getattr(self.data.goals, split))

    def empty_splits(self) -> Iterator[tuple[str, str]]:
        if self.data.goals.dev == 0:
            yield "dev", "data.goals.dev"
