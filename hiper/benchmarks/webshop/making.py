"""Making a data set's folder from the raw files, in a few passes that hold one product at a time.

    dataset.json           what it is, where it comes from, counts, and size and checksum of every other file
    products.*, prices.npy see `store`
    goals.jsonl            the goals in the order asked for, with the split of each; goals.offsets.npy
    goals.table.npy        [goals, 2] the place of each goal's product, and the number of its split
    index/                 see `search`

Nothing in it differs between machines that make it from the same files, settings and tagger.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.webshop.goals import Goal, goal_record, read_human_instructions
from hiper.benchmarks.webshop.lines import write_array, write_lines
from hiper.benchmarks.webshop.nouns import find_tagger
from hiper.benchmarks.webshop.orders import GoalList, fixed_order, hiper_order, original_order
from hiper.benchmarks.webshop.products import read_products
from hiper.benchmarks.webshop.search import build_index, document_text
from hiper.benchmarks.webshop.store import PRICES, Products, write_products
from hiper.config.benchmark import Goals
from hiper.errors import UserError
from hiper.records import sha256_file, write_json

logger = logging.getLogger(__name__)

BENCHMARK, FORMAT = "webshop", 1  # to be raised when the files change their meaning
INDEX_FILE = "dataset.json"
GOALS = "goals.jsonl"
GOAL_TABLE = "goals.table.npy"
SEARCH_FOLDER = "index"
SPLITS = ("test", "dev", "train")  # in the order of the goals
LEFT_OUT = len(SPLITS)  # the number of no split


@dataclass(frozen=True)
class RawFiles:
    """The raw files of one data set, plain or gzipped; `human` is None where its goals are synthetic."""

    items: Path
    instructions: Path
    human: Path | None

    def __iter__(self) -> Iterator[Path]:
        yield from (path for path in (self.items, self.instructions, self.human) if path is not None)


def write_dataset(
    folder: Path, dataset: str, source: Mapping[str, Any], raw: RawFiles, settings: Goals
) -> dict[str, int]:
    """Write everything into the empty `folder`; returns the counts of `dataset.json`.

    Call it inside `archives.building`: it may stop half-way. Raises UserError for damaged raw files and when a split
    has no goals.
    """
    # Generated sets are equal on every machine, whatever taggers it has.
    tagger = find_tagger("rule" if source["kind"] == "generate" else "auto")
    count, names = write_products(folder, read_products(raw.items, raw.instructions), tagger.nouns)
    products = Products(folder, count)
    if not len(products):
        raise UserError(f"{raw.items}: holds no product; fetch it again")
    logger.info("%d products read; making goals", len(products))
    ordered = _ordered(products, raw.human, settings)
    write_array(folder / PRICES, np.asarray(list(ordered.prices.values()), np.float64))
    splits = divided(ordered.goals, settings)
    _write_goals(folder, ordered, splits)
    logger.info("%d goals made; indexing the products", len(ordered.goals))
    build_index(((product.asin, document_text(product)) for product in products), folder / SEARCH_FOLDER)
    counts = {
        "products": len(products),
        "goals": len(ordered.goals),
        "reachable": sum(goal.reachable for goal in ordered.goals),
    }
    content = {
        "benchmark": BENCHMARK,
        "format": FORMAT,
        "dataset": dataset,
        "source": dict(source),
        "goals": settings.model_dump(),
        "tagger": tagger.name,
        "counts": counts,
        "splits": {split: _split_counts(ordered.goals, splits, number) for number, split in enumerate(SPLITS)},
        "queries": names.queries,
        "categories": names.categories,
        "parts": _parts(folder),
    }
    write_json(folder / INDEX_FILE, content)
    return counts


def _ordered(products: Products, human: Path | None, settings: Goals) -> GoalList:
    instructions = None if human is None else read_human_instructions(human)
    match settings.order:
        case "fixed":
            return fixed_order(products, instructions)
        case "original":
            return original_order(products, settings.seed, instructions)
        case "hiper":
            return hiper_order(products, settings.seed, instructions)


def divided(goals: list[Goal], settings: Goals) -> list[int]:
    """The number of each goal's split: the first `test` goals, the next `dev`, the rest.

    In the fixed order a goal that asks for the same purchase as one of an earlier split belongs to none. The other
    orders repeat what the original and HiPER do. UserError when a split that should have goals has none.
    """
    ends = (settings.test, settings.test + settings.dev, len(goals))
    numbers: list[int] = []
    first: dict[Any, int] = {}  # the split in which a purchase is asked for first
    for position, goal in enumerate(goals):
        number = next(split for split, end in enumerate(ends) if position < end)
        repeated = first.setdefault(goal.wish, number) < number
        numbers.append(LEFT_OUT if repeated and settings.order == "fixed" else number)
    for number, (split, size) in enumerate(zip(SPLITS, (settings.test, settings.dev, 1), strict=True)):
        if size and number not in numbers:
            raise UserError(
                f"data.goals: {len(goals)} goals leave none for the split {split} with test = {settings.test} and "
                f"dev = {settings.dev}; lower these, or use more products"
            )
    return numbers


def _write_goals(folder: Path, ordered: GoalList, splits: list[int]) -> None:
    """`ordered.prices` has the products in their order."""
    places = {asin: place for place, asin in enumerate(ordered.prices)}
    write_lines(folder / GOALS, map(goal_record, ordered.goals))
    table = [(places[goal.asin], split) for goal, split in zip(ordered.goals, splits, strict=True)]
    write_array(folder / GOAL_TABLE, np.asarray(table, np.int32).reshape(-1, 2))


def _split_counts(goals: list[Goal], splits: list[int], number: int) -> dict[str, Any]:
    mine = [goal for goal, split in zip(goals, splits, strict=True) if split == number]
    return {
        "goals": len(mine),
        "reachable": sum(goal.reachable for goal in mine),
        "categories": dict(sorted(Counter(goal.category for goal in mine).items())),
    }


def _parts(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in files
    }
