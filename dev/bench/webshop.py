"""WebShop here: every part is measured in a module of its own, and all make one result."""

from __future__ import annotations

from pathlib import Path

from dev.bench import webshop_play, webshop_search
from dev.bench.measure import Budget, Result
from dev.bench.webshop_search import PRODUCTS


def measure(budget: Budget, *, root: Path, data: Path | None = None, count: int = PRODUCTS, seed: int = 0) -> Result:
    """`data`: a folder with WebShop's raw files of 1,000 products (default: generated ones); `count`: how many products
    to make of their texts."""
    parts = [
        webshop_play.measure(budget, data=data, root=root, seed=seed),
        webshop_search.measure(budget, data=data, count=count, seed=seed),
    ]
    return Result(
        "webshop",
        {name: value for part in parts for name, value in part.settings.items()},
        [check for part in parts for check in part.checks],
        [comparison for part in parts for comparison in part.comparisons],
        [target for part in parts for target in part.targets],
        [note for part in parts for note in part.notes],
    )
