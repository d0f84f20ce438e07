"""The shop's search engine against a dictionary of postings in Python; building, size and memory of its index.

The texts are those of 1,000 generated or real products; for another number of products, pieces of two of them joined.
Queries are the sentences that goals begin with, and the short queries of the data. A query asked before is answered
from memory, so searching is timed with an index just opened and again with the same one.

Times are processor time of one core.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from dev.bench.bounds import python_shares
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from dev.bench.plain_search import PlainSearch
from hiper.benchmarks.webshop.catalogue import draw
from hiper.benchmarks.webshop.products import Product, parse_product, read_products
from hiper.benchmarks.webshop.raw_files import raw_file
from hiper.benchmarks.webshop.search import HITS, SearchIndex, build_index, document_text

PRODUCTS = 1000
QUERIES = 100
NEW, KNOWN, PLAIN = "mapped index, a new query", "mapped index, a query asked before", "dictionary of postings"
TARGET_RATE = 1370.0  # ten times what Lucene, called from Python, was measured to do among the real 1,000 products
TARGET_MEGABYTES = 2.0
TOLERANCE = 1e-4
_COPIES = 20  # passes over known queries per round: one is over too quickly

Documents = Sequence[tuple[str, str]]


def some_products(data: Path | None, seed: int) -> list[Product]:
    """1,000 products: of the raw files in the folder `data`, or generated."""
    if data is not None:
        raw = (raw_file(data, name) for name in ("items_shuffle_1000.json", "items_ins_v2_1000.json"))
        return list(read_products(*raw))
    return [
        parse_product(item, {item["asin"]: instruction}, "the generated catalogue")
        for item, instruction in draw(PRODUCTS, seed)
    ]


def documents(texts: Sequence[tuple[str, str]], count: int, seed: int) -> Iterator[tuple[str, str]]:
    """`texts` where they are as many as wanted; otherwise each document begins like one of them and ends like another,
    so that words are about as frequent as in those."""
    if count == len(texts):
        yield from texts
        return
    chance = random.Random(seed)
    words = [text.split(" ") for _, text in texts]
    for number in range(count):
        first, second = chance.choice(words), chance.choice(words)
        cut, other = chance.random(), chance.random()
        kept = first[: round(cut * len(first))] + second[round((other if other > 0.5 else cut) * len(second)) :]
        yield f"B{number:09d}", " ".join(kept)


def queries(products: Sequence[Product], seed: int) -> list[str]:
    sentences = [f"{one.instruction}, and price lower than 50.00 dollars" for one in products if one.instruction]
    short = sorted({one.query for one in products})
    chance = random.Random(seed)
    return [chance.choice(sentences if number % 2 else short) for number in range(QUERIES)]


def require_same(asked: Sequence[str], index: SearchIndex, plain: PlainSearch) -> str:
    """Disagreement unless both give each query the same scores in order, and the same products but for near ties."""
    for query in asked:
        ours, theirs = index.search(query), plain.search(query, HITS + 10)
        known = dict(theirs)
        for place, ((asin, score), (_, other)) in enumerate(zip(ours, theirs, strict=False)):
            if abs(score - other) > TOLERANCE or abs(known.get(asin, other) - score) > TOLERANCE:
                raise Disagreement(f"{query!r}: place {place} is {asin} with {score:.6f} here, {other:.6f} there")
        if len(ours) != min(len(theirs), HITS):
            raise Disagreement(f"{query!r}: {len(ours)} products here, {len(theirs)} there")
    return f"{len(asked)} queries: scores of the first {HITS} products agree to {TOLERANCE:g}"


def measure(budget: Budget, *, data: Path | None = None, count: int = PRODUCTS, seed: int = 0) -> Result:
    """Build an index of `count` products once, then search it."""
    products = some_products(data, seed)
    texts = [(product.asin, document_text(product)) for product in products]
    asked = queries(products, seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        before = time.process_time()
        build_index(documents(texts, count, seed), folder)
        building = (time.process_time() - before) / count
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        memory = _memory(folder, asked)
        index, plain = SearchIndex.open(folder), PlainSearch(documents(texts, count, seed))
        checks = [require_same(asked, index, plain)]
        searching = _searches(folder, plain, asked, count, budget)
        bound = python_shares(lambda: _ask(SearchIndex.open(folder, compare_checksums=False), asked))
    settings = {"products": count, "texts": "generated" if data is None else str(data), "queries": QUERIES}
    return Result(
        "webshop",
        {**settings, "threads": 1, "seed": seed},
        checks,
        [Comparison(f"index of {count:,} products", "product", {"building it": [building]}, {}), searching],
        _targets(searching, memory, count, bound),
        [f"The index has {size:.1f} MB on disk. {_memory_note(memory)}"],
    )


def _searches(folder: Path, plain: PlainSearch, asked: Sequence[str], count: int, budget: Budget) -> Comparison:
    opened: list[SearchIndex] = []

    def open_again(number: int) -> None:
        opened[:] = [SearchIndex.open(folder, compare_checksums=False)]

    def ask_again(number: int) -> float:
        for _ in range(_COPIES):
            _ask(opened[0], asked)
        return _COPIES * len(asked)

    def ask_plain(number: int) -> float:
        few = asked[number % 5 :: 5]
        for query in few:
            plain.search(query, HITS)
        return len(few)

    sides = [
        Side(NEW, lambda number: _ask(opened[0], asked), open_again),
        Side(KNOWN, ask_again),
        Side(PLAIN, ask_plain),
    ]
    title = f"searches among {count:,} products"
    return interleave(title, "query", sides, {PLAIN: NEW}, budget, time.process_time)


def _ask(index: SearchIndex, asked: Sequence[str]) -> float:
    for query in asked:
        index.search(query)
    return len(asked)


def _targets(searching: Comparison, memory: Sequence[float], count: int, bound: str) -> list[Target]:
    added = memory[1] - memory[0]
    targets = [
        Target(
            "megabytes that opening an index adds to a process",
            f"at most {TARGET_MEGABYTES:g}, whatever its size",
            added,
            added <= TARGET_MEGABYTES,
            "what Python and numpy keep for each array",
        )
    ]
    if count == PRODUCTS:
        rate = 1 / searching.spread(NEW).median
        targets.append(
            Target("new queries per second", f"at least {TARGET_RATE:,.0f}", rate, rate >= TARGET_RATE, bound)
        )
    return targets


def _memory(folder: Path, asked: Sequence[str]) -> tuple[float, float, float, float]:
    """Megabytes resident in a fresh process: before opening, after it, after searching; and how much of the last is
    its own, not mapped from files that other processes map too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_resident, folder, asked).result()


def _resident(folder: Path, asked: Sequence[str]) -> tuple[float, float, float, float]:
    before, _ = resident_megabytes()
    index = SearchIndex.open(folder)
    opened, _ = resident_megabytes()
    _ask(index, asked)
    searched, mapped = resident_megabytes()
    return before, opened, searched, searched - mapped


def resident_megabytes() -> tuple[float, float]:
    """Megabytes of this process in memory, and how many of them are of mapped files."""
    _, resident, mapped, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    page = os.sysconf("SC_PAGE_SIZE") / 1e6
    return int(resident) * page, int(mapped) * page


def _memory_note(memory: Sequence[float]) -> str:
    before, opened, searched, own = memory
    return (
        f"A process that has this code imported is {before:.1f} MB large, {opened - before:.2f} MB more with the index "
        f"open, {searched - opened:.1f} MB more after {QUERIES} queries; {own:.1f} MB of all that are its own."
    )
