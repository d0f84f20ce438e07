"""The shop's search engine: an index of the products' texts on disk, ranked as by Lucene 8 with Anserini's settings."""

from __future__ import annotations

import shutil
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiper.benchmarks.archives import building
from hiper.benchmarks.webshop.analyzer import analyze
from hiper.benchmarks.webshop.bm25 import impacts, inverse_frequencies, length_codes
from hiper.benchmarks.webshop.index_files import open_parts, seal, write_part, write_streamed
from hiper.benchmarks.webshop.inversion import RUN, Inversion
from hiper.benchmarks.webshop.products import Product
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN

HITS = 50  # that a search of the shop shows
_CACHED = 2048  # queries whose hits are remembered: 15 MB when full
_SAMPLE = 16  # one of so many scores tells which ones are not worth sorting
_CACHED_TERMS = 1 << 14  # whose place is remembered: 3 MB when full


def document_text(product: Product) -> str:
    """What the search engine reads of a product: title, description, first bullet and options, in lower case."""
    options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product.options.items())
    first = product.bullets[0] if product.bullets else ""
    return " ".join((product.title, product.description, first, options)).lower()


def build_index(documents: Iterable[tuple[str, str]], folder: Path, *, run: int = RUN) -> None:
    """Index (asin, text) pairs into `folder`, which appears, or is replaced, only when all is done.

    Documents are taken one by one. Memory: 150 MB for a run of `run` terms, some 40 bytes a term, 150 a document.
    Raises UserError when asins repeat or no text has a term.
    """
    with building(folder) as new:
        runs = new / "runs"
        runs.mkdir()
        inversion = Inversion(runs, run)
        asins = []
        for asin, text in documents:
            asins.append(asin.encode())
            inversion.add(analyze(text))
        inversion.finish_run()
        if not inversion.size:
            raise UserError(f"{folder}: there is nothing to search in, none of {len(asins)} documents has a word")
        _write_asins(new, asins, folder)
        counts = {"documents": len(asins), "postings": inversion.size}
        seal(new, {**counts, "terms": _write_postings(new, inversion, runs)})


def _write_asins(new: Path, asins: list[bytes], folder: Path) -> None:
    names = np.array(asins)
    order = np.argsort(names, kind="stable")
    if twice := next((one for one, other in pairwise(names[order]) if one == other), None):
        raise UserError(f"{folder}: two documents have the asin {twice.decode()!r}; remove one of the products")
    write_part(new, "ranks", np.argsort(order))
    write_part(new, "asins", np.frombuffer(b"".join(asins), dtype=np.uint8))
    write_part(new, "asin_offsets", _offsets(np.array([len(asin) for asin in asins])))


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


def _write_postings(new: Path, inversion: Inversion, runs: Path) -> int:
    """Write terms and postings; the number of terms."""
    lengths = np.frombuffer(inversion.lengths, dtype=np.int32).astype(np.int64)
    with_terms = int(np.count_nonzero(lengths))
    average = float(lengths.sum() / with_terms)
    codes = length_codes(lengths)
    terms, term_sizes = bytearray(), array("q")
    sizes: list[NDArray[np.int64]] = []

    def pieces() -> Iterator[Mapping[str, NDArray[Any]]]:
        for found in inversion.postings():
            terms.extend(b"".join(found.terms))
            term_sizes.extend(map(len, found.terms))
            sizes.append(found.sizes)
            weights = np.repeat(inverse_frequencies(found.sizes, with_terms), found.sizes)
            added = impacts(found.counts, codes[found.documents], weights, average)
            yield {"documents": found.documents, "impacts": added}

    write_streamed(new, pieces(), inversion.size)
    shutil.rmtree(runs)
    write_part(new, "posting_offsets", _offsets(np.concatenate(sizes)))
    write_part(new, "terms", np.frombuffer(terms, dtype=np.uint8))
    write_part(new, "term_offsets", _offsets(np.array(term_sizes)))
    return len(term_sizes)


def _kth(scores: NDArray[np.float32], k: int) -> float:
    """The k-th best score; 0 when there are fewer."""
    return float(np.partition(scores, len(scores) - k)[len(scores) - k]) if len(scores) > k else 0.0


def _at_least(scores: NDArray[np.float32], limit: float) -> NDArray[np.int64]:
    """Where scores are above 0 and not below the limit."""
    return np.flatnonzero(scores >= limit if limit > 0 else scores > 0)


class _Names:
    """Texts in a mapped array, read one at a time."""

    def __init__(self, blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._blob, self._offsets = memoryview(blob), memoryview(offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> bytes:
        return bytes(self._blob[self._offsets[number] : self._offsets[number + 1]])


class SearchIndex:
    """An index on disk. Its arrays are mapped, so any number of processes share one copy; a process keeps for itself
    the hits of the queries it asked last. Open it after forking or before: both work."""

    def __init__(self, folder: Path, parts: Mapping[str, NDArray[Any]]) -> None:
        self._folder = folder
        self._asins = _Names(parts["asins"], parts["asin_offsets"])
        self._terms = _Names(parts["terms"], parts["term_offsets"])
        self._offsets = memoryview(parts["posting_offsets"])
        self._ranks, self._documents, self._impacts = (parts[name] for name in ("ranks", "documents", "impacts"))
        self._known = lru_cache(_CACHED)(self._best)
        self._known_postings = lru_cache(_CACHED_TERMS)(self._postings)

    @classmethod
    def open(cls, folder: Path, *, compare_checksums: bool = True) -> SearchIndex:
        """UserError names the file that is missing, damaged or not of this version.

        `compare_checksums` reads everything once; a process whose parent has done so can leave it out.
        """
        return cls(folder, open_parts(folder, compare_checksums=compare_checksums))

    def __len__(self) -> int:
        return len(self._asins)

    def search(self, query: str, k: int = HITS) -> list[tuple[str, float]]:
        """At most `k` (asin, score) pairs with a word of the query, best first, equal scores by asin.

        UserError when an index that was not verified turns out to be damaged.
        """
        try:
            return list(self._known(query, k))
        except (ValueError, IndexError) as error:
            raise UserError(f"{self._folder}: the index is damaged ({error}); {MAKE_DATA_AGAIN}") from None

    def _best(self, query: str, k: int) -> tuple[tuple[str, float], ...]:
        scores = self._scores(query)
        # the k-th best of a sample is no better than that of all, and cheaper to find
        hits = _at_least(scores, _kth(scores[::_SAMPLE], k))
        hits = hits[_at_least(scores[hits], _kth(scores[hits], k))]
        best = hits[np.lexsort((self._ranks[hits], -scores[hits]))][:k]
        return tuple((self._asins[int(number)].decode(), float(scores[number])) for number in best)

    def _scores(self, query: str) -> NDArray[np.float32]:
        """The score of every document; summed in double precision and then rounded, as Lucene does.

        A word said three times weighs three times its impact, which may differ from Lucene's weight in the last bit.
        """
        documents, added = [], []
        for term, count in Counter(analyze(query)).items():
            start, stop = self._known_postings(term)
            documents.append(self._documents[start:stop])
            added.append(self._impacts[start:stop] * np.float32(count) if count > 1 else self._impacts[start:stop])
        if not documents:
            return np.zeros(len(self), dtype=np.float32)
        places = np.concatenate(documents)
        if len(places) and places.max() >= len(self):
            raise IndexError("a posting names no document")
        sums = np.bincount(places, np.concatenate(added), minlength=len(self))
        return sums.astype(np.float32)

    def _postings(self, term: str) -> tuple[int, int]:
        """Where the postings of a term begin and end."""
        name = term.encode()
        place = bisect_left(self._terms, name)
        if place == len(self._terms) or self._terms[place] != name:
            return 0, 0
        return self._offsets[place], self._offsets[place + 1]
