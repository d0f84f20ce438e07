"""BM25 as one writes it first: a dictionary from terms to documents, a dictionary of scores, a sort."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable

from hiper.benchmarks.webshop.analyzer import analyze
from hiper.benchmarks.webshop.bm25 import K1, LENGTHS, B, length_codes


class PlainSearch:
    """Everything in Python objects and double precision; the analyzer is the shop's."""

    def __init__(self, documents: Iterable[tuple[str, str]]) -> None:
        self._asins: list[str] = []
        self._postings: defaultdict[str, tuple[array[int], array[int]]] = defaultdict(lambda: (array("i"), array("i")))
        lengths = array("q")
        for number, (asin, text) in enumerate(documents):
            self._asins.append(asin)
            terms = analyze(text)
            lengths.append(len(terms))
            for term, count in Counter(terms).items():
                places, counts = self._postings[term]
                places.append(number)
                counts.append(count)
        self._total = sum(1 for length in lengths if length)
        average = sum(lengths) / self._total
        rounded = LENGTHS[length_codes(lengths)].tolist()  # type: ignore[arg-type]
        self._norms = [K1 * (1 - B + B * length / average) for length in rounded]

    def search(self, query: str, k: int) -> list[tuple[str, float]]:
        """As `SearchIndex.search`, without any memory of earlier queries."""
        scores: dict[int, float] = {}
        for term, repeats in Counter(analyze(query)).items():
            if term not in self._postings:
                continue
            places, counts = self._postings[term]
            weight = repeats * math.log(1 + (self._total - len(places) + 0.5) / (len(places) + 0.5))
            for place, count in zip(places, counts, strict=True):
                scores[place] = scores.get(place, 0.0) + weight * (1 - 1 / (1 + count / self._norms[place]))
        best = sorted(scores.items(), key=lambda item: (-item[1], self._asins[item[0]]))[:k]
        return [(self._asins[place], score) for place, score in best]
