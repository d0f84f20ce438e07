"""Search and analyzer against recordings of Lucene 8, as Anserini calls it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from dev.parity.webshop_goals import recorded_products
from dev.parity.webshop_result import ParityResult, Tally
from hiper.benchmarks.webshop.analyzer import analyze
from hiper.benchmarks.webshop.search import SearchIndex, build_index, document_text
from hiper.records import require

TOLERANCE = 1e-4  # of a score: Anserini rounds to this
_TIE = 1e-6  # what Anserini takes off a score for each better one that rounds to the same
_PROBE = "ab {0} cd{0}ef"


def compare_search(recording: Any, data: Path) -> ParityResult:
    """`{results: [{query, hits: [[asin, score]]}]}`: one point a query, its products in order and their scores."""
    results = require(recording, {"results": list}, "the recorded searches")["results"]
    tally = Tally()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        build_index(((product.asin, document_text(product)) for product in recorded_products(data)), folder)
        index = SearchIndex.open(folder)
        for number, row in enumerate(results):
            where = f"recorded search {number}"
            require(row, {"query": str, "hits": list}, where)
            own = _adjusted(index.search(row["query"].lower()))
            tally.compare(f"{where} {row['query'][:60]!r}", _ranking(own, own), _ranking(row["hits"], own))
    return tally.result()


def _adjusted(hits: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Scores rounded as Anserini rounds them, equal ones told apart by a millionth each."""
    rounded = [round(score * 1e4) / 1e4 for _, score in hits]
    ties = [place - rounded.index(score) for place, score in enumerate(rounded)]
    return [(asin, score - _TIE * tie) for (asin, _), score, tie in zip(hits, rounded, ties, strict=True)]


def _ranking(hits: list[tuple[str, float]], own: list[tuple[str, float]]) -> dict[str, Any]:
    """Asins in order, and the scores; a score within the tolerance of our own counts as ours."""
    scores = [
        mine if abs(score - mine) <= TOLERANCE else score for (_, score), (_, mine) in zip(hits, own, strict=False)
    ]
    return {"asins": [asin for asin, _ in hits], "scores": scores}


def compare_analyzer_tokens(recording: Any, data: Path) -> ParityResult:
    """`{queries, docs_first60, doc_len, doc_contents_first3}`: terms of queries and documents, lengths, texts."""
    types: dict[str, type] = {"queries": dict, "docs_first60": dict, "doc_len": dict, "doc_contents_first3": list}
    recording = require(recording, types, "the recorded terms")
    products = recorded_products(data)
    texts = {product.asin: document_text(product) for product in products}
    tally = Tally()
    for query, terms in recording["queries"].items():
        tally.compare(f"query {query[:60]!r}", {"terms": analyze(query)}, {"terms": terms})
    for asin, terms in recording["docs_first60"].items():
        tally.compare(f"document {asin}", {"terms": analyze(texts.get(asin, ""))}, {"terms": terms})
    for asin, length in recording["doc_len"].items():
        tally.compare(f"length of {asin}", {"terms": len(analyze(texts.get(asin, "")))}, {"terms": length})
    for product, text in zip(products, recording["doc_contents_first3"], strict=False):
        tally.compare(f"text of {product.asin}", {"text": texts[product.asin]}, {"text": text})
    return tally.result()


def compare_analyzer_characters(recording: Any, data: Path) -> ParityResult:
    """`{porter: word -> terms, chars: code point -> terms of a text that holds it alone and between letters}`."""
    recording = require(recording, {"porter": dict, "chars": dict}, "the recorded probes")
    tally = Tally()
    for word, terms in recording["porter"].items():
        tally.compare(f"word {word!r}", {"terms": analyze(word)}, {"terms": terms})
    for code, terms in recording["chars"].items():
        own = analyze(_PROBE.format(chr(int(code))))
        tally.compare(f"character U+{int(code):04X}", {"terms": own}, {"terms": terms})
    return tally.result()
