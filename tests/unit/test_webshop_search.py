"""The shop's search engine: terms, ranking, the index on disk, and what becomes of it when a process is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from dev.bench import webshop_search
from dev.bench.measure import Budget, Disagreement
from dev.bench.plain_search import PlainSearch
from hiper.benchmarks.webshop.analyzer import LONGEST, STOP_WORDS, analyze
from hiper.benchmarks.webshop.bm25 import LENGTHS, impacts, inverse_frequencies, length_codes
from hiper.benchmarks.webshop.index_files import INDEX, PARTS
from hiper.benchmarks.webshop.porter import stem
from hiper.benchmarks.webshop.products import Product
from hiper.benchmarks.webshop.search import SearchIndex, build_index, document_text
from hiper.errors import UserError

WORDS = (
    *("red", "blue", "mug", "desk", "lamp", "shirt", "cotton", "wooden", "walnut", "oak"),
    *("small", "large", "running", "shoe", "cup", "12", "oz", "chair", "soft"),
)


def shop(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Documents with frequent and rare words, some equal to others, one without a word; asins out of order."""
    chance = random.Random(seed)
    weights = [1 / (place + 1) for place in range(len(WORDS))]
    texts = [" ".join(chance.choices(WORDS, weights, k=chance.randint(1, 90))) for _ in range(count)]
    texts[1::5] = texts[: len(texts[1::5])]
    texts[2] = "the !"
    asins = [f"B{number:04d}" for number in range(count)]
    chance.shuffle(asins)
    return list(zip(asins, texts, strict=True))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build_index(shop(60), tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Women's Shoes, kids' and a’s", "women shoe kid"),
        ("3,5 3.5 3:5 a.b a:b a,b x_y _ 2-in-1", "3,5 3.5 3 5 a.b a:b b x_y 2 1"),
        ("us os geology technology incredibly", "us os geologi technolog incred"),
        ("ΑΣ İ ﬁsh ａｂ", "ασ i ﬁsh ａｂ"),
        ("💩💩中國 ★ ☆ ™ 日本", "💩 💩 中 國 ★ ™ 日 本"),
        ("👨‍💼 👨🏼‍⚕️ 🇺🇸🇩🇪 #️⃣ #", "👨‍💼 👨🏼‍⚕️ 🇺🇸 🇩🇪 #️⃣"),
        ("\ud800 \x00 \u2028", ""),
        ("", ""),
    ],
)
def test_texts_become_terms_as_in_lucene(text: str, terms: str) -> None:
    """Words of annex 29, possessives, lower case letter by letter, stop words, stems; pictographs are words."""
    assert analyze(text) == terms.split()


def test_stop_words_are_lucenes() -> None:
    """All 33, and nothing else."""
    assert len(STOP_WORDS) == 33
    assert analyze(" ".join(STOP_WORDS)) == []


def test_long_tokens_are_cut_and_hostile_text_ends() -> None:
    """No piece is longer than 255; any amount of underscores, joiners or quotes comes to an end."""
    assert [len(term) for term in analyze("x" * (2 * LONGEST + 7))] == [LONGEST, LONGEST, 7]
    assert [len(term) for term in analyze("é" * LONGEST + "x")] == [LONGEST, 1]
    for piece in ("_", "é_.", "1,", 'א"', "\u200d"):
        assert all(len(term) <= LONGEST for term in analyze(piece * (1 << 16)))


def test_the_stemmer_is_that_of_nltk() -> None:
    """10,000 words made of letters and suffixes have the stems that NLTK's form of Porter's own program gives."""
    from nltk.stem.porter import PorterStemmer  # seconds

    reference = PorterStemmer("MARTIN_EXTENSIONS")
    chance = random.Random(0)
    suffixes = (
        "s es ies ed ing eed y ly ational tional enci izer bli alli entli eli ization ator alism iveness fulness "
    )
    suffixes += (
        "aliti biliti logi icate ative alize iciti ical ful ness ance er ible ement ment ent ion sion ou ate ize ll"
    )
    endings = ["", *suffixes.split()]
    words = ["".join(chance.choices("aeioubcdlstyz", k=chance.randint(1, 6))) for _ in range(10_000)]
    words = [word + chance.choice(endings) + chance.choice(endings) for word in words]
    assert [word for word in words if stem(word) != reference.stem(word)] == []


def test_lengths_are_kept_in_one_byte() -> None:
    """Exact below 40, then eight steps for each doubling; never more than the true length."""
    codes = length_codes(np.arange(1000))
    kept = LENGTHS[codes]
    assert kept[:41].tolist() == list(range(41))
    assert kept[[41, 42, 55, 56, 135, 136, 151, 152]].tolist() == [40, 42, 54, 56, 128, 136, 144, 152]
    assert (kept <= np.arange(1000)).all()
    assert LENGTHS[-1] == (15 << 27) + 24


def test_a_score_is_the_formula_in_single_precision() -> None:
    """One term of three documents, worked out by hand."""
    weight = inverse_frequencies(np.array([1]), 3)
    assert weight.dtype == np.float32
    assert weight[0] == pytest.approx(np.log(1 + 2.5 / 1.5))
    found = impacts(np.array([2], np.int32), np.array([10], np.uint8), weight, 8.0)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(weight[0] * 2 / (2 + 0.9 * (0.6 + 0.4 * 10 / 8)))


@pytest.mark.parametrize("seed", range(5))
def test_ranking_is_that_of_a_plain_implementation(tmp_path: Path, seed: int) -> None:
    """Scores of random queries, words repeated and unknown, and equal ones in the order of their asins."""
    documents = shop(300, seed)
    build_index(documents, tmp_path / "index")
    index, plain = SearchIndex.open(tmp_path / "index"), PlainSearch(documents)
    chance = random.Random(seed)
    queries = [" ".join(chance.choices([*WORDS, "zebra"], k=chance.randint(1, 6))) for _ in range(40)]
    webshop_search.require_same(queries, index, plain)
    ties = 0
    for query in queries:
        hits = index.search(query)
        assert hits == sorted(hits, key=lambda hit: (-hit[1], hit[0]))
        ties += len(hits) - len({score for _, score in hits})
    assert ties > 100


def test_a_search_gives_what_is_asked_for(index: Path) -> None:
    """At most k hits, none for unknown words or none at all; what a caller does to a result stays with it."""
    opened = SearchIndex.open(index)
    assert len(opened) == 60
    assert len(opened.search("red", 3)) == 3
    assert opened.search("red", 3) == opened.search("red")[:3]
    assert opened.search("zebra") == opened.search("") == opened.search("the") == []
    opened.search("red").clear()
    assert opened.search("red")
    assert opened.search("RED reds") == [(asin, 2 * score) for asin, score in opened.search("red")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_size_of_runs_leaves_no_trace(tmp_path: Path) -> None:
    """An index written in one run, in many, in one per document, or again, is the same to the byte."""
    for name, run in (("whole", 1 << 20), ("again", 1 << 20), ("many", 500), ("single", 1)):
        build_index(iter(shop(30)), tmp_path / name, run=run)
    whole = contents(tmp_path / "whole")
    assert set(whole) == {INDEX, *(f"{name}.npy" for name in PARTS)}
    assert all(contents(tmp_path / name) == whole for name in ("again", "many", "single"))


def test_building_holds_a_run_not_the_documents(tmp_path: Path) -> None:
    """Documents of 5 MB are indexed with a peak of less than a third of that."""

    def documents() -> Iterator[tuple[str, str]]:
        for number in range(500):
            yield f"B{number}", " ".join(WORDS) * 100

    build_index(shop(5), tmp_path / "imported")
    tracemalloc.start()
    try:
        build_index(documents(), tmp_path / "index", run=10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(len(text) for _, text in documents()) > 4.5e6
    assert peak < 1.5e6


def test_what_cannot_be_indexed_leaves_nothing(tmp_path: Path) -> None:
    """Repeated asins, documents without words, and a failure on the way: refused, and the folder stays as it was."""

    def failing() -> Iterator[tuple[str, str]]:
        yield "B1", "red"
        raise UserError("the products are damaged")

    folder = tmp_path / "index"
    build_index([("B1", "old")], folder)
    before = contents(folder)
    for documents, message in (
        ([("B1", "red"), ("B2", "red"), ("B1", "blue")], "two documents have the asin 'B1'"),
        ([("B1", "the"), ("B2", "")], "none of 2 documents has a word"),
        ([], "none of 0 documents"),
        (failing(), "the products are damaged"),
    ):
        with pytest.raises(UserError, match=message):
            build_index(documents, folder)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


KILLED = """
import os, signal, sys
from pathlib import Path
from hiper.benchmarks.webshop.search import build_index
calls, fsync = 0, os.fsync
def counted(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = counted
build_index(((f"B{n}", f"red mug {n}") for n in range(40)), Path(sys.argv[1]), run=60)
"""


@pytest.mark.parametrize("written", [1, 5, 10, 13, 17])
def test_a_killed_builder_leaves_the_index_that_was_there(tmp_path: Path, written: int) -> None:
    """Killed while a run, a part or `index.json` is written: the old index answers, and the next builder tidies up."""
    folder = tmp_path / "index"
    build_index([("OLD", "red")], folder)
    child = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(written)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert [asin for asin, _ in SearchIndex.open(folder).search("red")] == ["OLD"]
    build_index([("NEW", "red")], folder)
    assert [asin for asin, _ in SearchIndex.open(folder).search("red")] == ["NEW"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", [*PARTS, INDEX])
@pytest.mark.parametrize("damage", ["missing", "cut", "grown", "changed", "other"])
def test_a_damaged_index_is_refused(index: Path, name: str, damage: str) -> None:
    """Whatever happens to a file of the index, the message names it."""
    path = index / (name if name == INDEX else f"{name}.npy")
    content = path.read_bytes()
    changed = bytes([*content[:-9], content[-9] ^ 1, *content[-8:]])
    path.unlink()
    if damage != "missing":
        damaged = {"cut": content[:-9], "grown": content + b"}", "changed": changed, "other": b"no array"}
        path.write_bytes(damaged[damage])
    if (name, damage) == (INDEX, "changed"):
        path.write_text((index / INDEX).read_text(errors="replace").replace("Porter", "Snowball"))
    with pytest.raises(UserError, match=path.name):
        SearchIndex.open(index)
    if damage != "changed":
        with pytest.raises(UserError, match=path.name):
            SearchIndex.open(index, compare_checksums=False)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("filling", [0x00, 0x7E, 0xFF])
def test_damage_that_was_not_looked_for_is_no_crash(index: Path, name: str, filling: int) -> None:
    """Without comparing checksums, senseless values end in an answer, or in a message that names the index."""
    path = index / f"{name}.npy"
    content = path.read_bytes()
    start = content.index(b"\n") + 1 + len(content) // 8
    path.write_bytes(content[:start] + bytes([filling]) * (len(content) - start))
    try:
        opened = SearchIndex.open(index, compare_checksums=False)
        for word in WORDS:
            opened.search(f"{word} mug")
    except UserError as error:
        assert str(index) in str(error)


@pytest.mark.parametrize(
    ("old", "new"), [("search index 1", "search index 0"), ("Porter; 1", "Porter; 0"), ("0.9", "1.2")]
)
def test_an_index_of_another_kind_is_refused(index: Path, old: str, new: str) -> None:
    """Another format, analyzer or constant of the ranking would rank otherwise without a word."""
    path = index / INDEX
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"index.json: .*{new}.*make the data set again"):
        SearchIndex.open(index)


def test_parts_of_two_indexes_do_not_mix(index: Path, tmp_path: Path) -> None:
    """A part of another index of the same size is another file."""
    build_index([(asin, text[::-1]) for asin, text in shop(60)], tmp_path / "other")
    shutil.copy(tmp_path / "other" / "ranks.npy", index / "ranks.npy")
    SearchIndex.open(index)
    shutil.copy(tmp_path / "other" / "impacts.npy", index / "impacts.npy")
    with pytest.raises(UserError, match=r"impacts\.npy"):
        SearchIndex.open(index)


def found_and_mapped(folder: Path, queries: list[str]) -> tuple[list[list[tuple[str, float]]], set[tuple[int, str]]]:
    """In another process: the hits, and how the index's large files are mapped, as (inode, permissions)."""
    index = SearchIndex.open(folder)
    hits = [index.search(query) for query in queries]
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return hits, {(int(line[4]), line[1]) for line in lines if line[-1].endswith(("documents.npy", "impacts.npy"))}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="memory maps are listed on Linux only")
def test_processes_share_the_index_and_agree(index: Path) -> None:
    """Two fresh processes map the same files, shared and read-only, and find what this one finds."""
    queries = ["red mug", "walnut chair 12 oz", "zebra"]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        both = list(pool.map(found_and_mapped, [index] * 2, [queries] * 2))
    opened = SearchIndex.open(index)
    mapped = {(os.stat(index / name).st_ino, "r--s") for name in ("documents.npy", "impacts.npy")}
    assert both == [([opened.search(query) for query in queries], mapped)] * 2


def test_a_product_is_found_by_title_description_first_bullet_and_options() -> None:
    """The text of a product: other bullets are left out, a product without any is no mistake."""
    product = Product(
        asin="B1",
        title="A Mug",
        description="Holds TEA",
        bullets=("First", "Second"),
        category="garden",
        query="mugs",
        product_category="Kitchen",
        prices=(1.0,),
        price_tag="$1.0",
        options={"color": ("red", "blue"), "size": ("s",)},
        attributes=("x",),
        instruction=None,
        instruction_attributes=(),
    )
    assert document_text(product) == "a mug holds tea first color: red, blue, and size: s"
    object.__setattr__(product, "bullets", ())
    assert document_text(product) == "a mug holds tea  color: red, blue, and size: s"


def test_search_is_measured() -> None:
    """Searching, building, memory: every figure is there, for products as they are and for mixes of their texts."""
    for count, targets in ((1000, 2), (40, 1)):
        result = webshop_search.measure(Budget(3, 0.1), count=count)
        building, searching = result.comparisons
        assert searching.rounds == 3
        assert all(
            second > 0 for side in (building, searching) for rounds in side.seconds.values() for second in rounds
        )
        assert len(result.targets) == targets
        assert result.checks
        assert f"{count:,} products" in searching.title


def test_search_is_not_measured_against_another_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain implementation with another constant is no basis for a ratio."""
    monkeypatch.setattr("dev.bench.plain_search.K1", 1.2)
    with pytest.raises(Disagreement, match="place 0"):
        webshop_search.measure(Budget(3, 0.1), count=50)
