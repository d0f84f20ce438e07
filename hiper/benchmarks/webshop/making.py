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
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hiper.benchmarks.webshop.goals import Goal, HumanInstruction, goal_record, read_human_instructions
from hiper.benchmarks.webshop.lines import write_array, write_lines
from hiper.benchmarks.webshop.nouns import find_tagger
from hiper.benchmarks.webshop.orders import GoalList, fixed_order, hiper_order, original_order
from hiper.benchmarks.webshop.products import NO_ASIN, NO_ENTRY, NO_PRODUCT, REPEATED, read_products
from hiper.benchmarks.webshop.search import build_index, document_text
from hiper.benchmarks.webshop.settings import Goals
from hiper.benchmarks.webshop.store import PRICES, Products, write_products
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
    passed_over = Counter[str]()
    count, names = write_products(folder, read_products(raw.items, raw.instructions, None, passed_over), tagger.nouns)
    products = Products(folder, count)
    left_out = _left_out(raw, len(products), passed_over)
    logger.info("%d products read; making goals", len(products))
    instructions = None if raw.human is None else read_human_instructions(raw.human)
    ordered = _ordered(products, instructions, settings)
    if raw.human is not None and instructions is not None:
        _unused(raw.human, instructions, ordered.prices)
    write_array(folder / PRICES, np.asarray(list(ordered.prices.values()), np.float64))
    splits = divided(ordered.goals, settings)
    _write_goals(folder, ordered, splits)
    if repeated := splits.count(LEFT_OUT):
        logger.info("%d of %d goals ask for a purchase of an earlier split and are in none", repeated, len(splits))
    logger.info("%d goals made; indexing the products", len(ordered.goals))
    build_index(((product.asin, document_text(product)) for product in products), folder / SEARCH_FOLDER)
    counts = {
        "products": len(products),
        "goals": len(ordered.goals),
        "reachable": sum(goal.reachable for goal in ordered.goals),
    }
    content: dict[str, Any] = {
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
    if left_out:
        content["left_out"] = left_out
    write_json(folder / INDEX_FILE, content)
    return counts


def _left_out(raw: RawFiles, kept: int, counts: Mapping[str, int]) -> dict[str, int]:
    """Entries that became no product, or one without a goal, by reason; the log names them. UserError where they are
    more than the products, or where no product has an entry in the instruction file."""
    found = {reason: counts[reason] for reason in (NO_ASIN, REPEATED, NO_ENTRY) if counts[reason]}
    for reason, number in found.items():
        effect = "makes no goal" if reason == NO_ENTRY else "left out"
        logger.warning(
            "%s: %d of %d entries: %s, %s", raw.items, number, kept + counts[NO_ASIN] + counts[REPEATED], reason, effect
        )
    if unused := counts[NO_PRODUCT]:
        found[NO_PRODUCT] = unused
        message = "%s: %d entries are of products that %s does not have; is one of the files cut, or of another set?"
        logger.warning(message, raw.instructions, unused, raw.items.name)
    if not kept:
        raise UserError(f"{raw.items}: holds no product; fetch it again")
    if counts[NO_ASIN] + counts[REPEATED] > kept:
        raise UserError(f"{raw.items}: more of its entries are left out than are products ({kept}); fetch it again")
    if counts[NO_ENTRY] == kept:
        raise UserError(f"{raw.instructions}: has none of the products of {raw.items.name}; it is of another set")
    return found


def _unused(human: Path, instructions: Mapping[str, Sequence[HumanInstruction]], asins: Container[str]) -> None:
    """Say how many human instructions became no goal; UserError where none is about a product that there is."""
    foreign = sum(asin not in asins for asin in instructions)
    if foreign == len(instructions):
        raise UserError(f"{human}: tells of none of the products that there are; it is of another set")
    bare = sum(not one.attributes for asin, rows in instructions.items() if asin in asins for one in rows)
    if foreign or bare:
        message = "%s: %d of %d asins are of other products, %d instructions name no attribute: they make no goal"
        logger.info(message, human, foreign, len(instructions), bare)


def _ordered(
    products: Products, instructions: Mapping[str, Sequence[HumanInstruction]] | None, settings: Goals
) -> GoalList:
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
