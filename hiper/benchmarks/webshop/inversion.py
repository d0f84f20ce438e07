"""From documents to postings, with memory for one run of documents however many there are.

Terms are collected until a run is full, sorted, and written out; at the end the runs, which hold consecutive documents,
are merged term by term.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiper.records import atomic_write

RUN = 4_000_000  # terms in a run, repeats included: 150 MB while it is sorted
PIECE = 1_000_000  # postings handed out at once, or a few more


@dataclass(frozen=True)
class Postings:
    """Consecutive terms (UTF-8, ascending) and where they occur: `sizes` [terms] postings each, in which `documents`
    ascend and `counts` say how often the document has the term (both [postings])."""

    terms: Sequence[bytes]
    sizes: NDArray[np.int64]
    documents: NDArray[np.int32]
    counts: NDArray[np.int32]


class _Numbers(dict[str, int]):
    """Numbers terms in the order of their first occurrence."""

    def __missing__(self, term: str) -> int:
        number = self[term] = len(self)
        return number


class Inversion:
    """`add` the documents in order, then take the `postings` once. `folder` is empty; what is left in it afterwards is
    of no use. Temporary files take 8 bytes a posting."""

    def __init__(self, folder: Path, run: int = RUN) -> None:
        self._folder = folder
        self._run = run
        self._runs = 0
        self.lengths = array("i")  # terms of each document
        self.size = 0  # postings written so far; all of them when `postings` begins
        self._start_run()

    def _start_run(self) -> None:
        self._first = len(self.lengths)
        self._numbers = _Numbers()
        self._terms = array("i")

    def add(self, terms: Sequence[str]) -> None:
        self._terms.extend(map(self._numbers.__getitem__, terms))
        self.lengths.append(len(terms))
        if len(self._terms) >= self._run:
            self.finish_run()

    def finish_run(self) -> None:
        """Write what has been collected, sorted by term and document."""
        if not self._terms:
            return
        names = sorted(self._numbers)  # code points ascend as their UTF-8 does
        place = np.empty(len(names), dtype=np.int64)
        place[[self._numbers[name] for name in names]] = np.arange(len(names))
        span = len(self.lengths) - self._first
        lengths = np.frombuffer(self.lengths, dtype=np.int32)[self._first :].copy()
        key = place[np.frombuffer(self._terms, dtype=np.int32)] * span + np.repeat(np.arange(span), lengths)
        key, counts = np.unique(key, return_counts=True)
        sizes = np.bincount(key // span, minlength=len(names))
        with atomic_write(self._file("terms"), "wb") as stream:
            stream.writelines(name.encode() + b"\n" for name in names)  # no term holds a line's end
        arrays = {"sizes": sizes, "documents": key % span + self._first, "counts": counts}
        for name, values in arrays.items():
            with atomic_write(self._file(f"{name}.npy"), "wb") as stream:
                np.save(stream, values.astype(np.int32))
        self.size += len(key)
        self._runs += 1
        self._start_run()

    def _file(self, name: str, run: int | None = None) -> Path:
        return self._folder / f"{self._runs if run is None else run}.{name}"

    def postings(self, piece: int = PIECE) -> Iterator[Postings]:
        """All postings, terms ascending; at least `piece` of them at once, except at the end."""
        runs = self._mapped_runs()
        names: list[bytes] = []
        sizes: list[int] = []
        parts: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        pending = 0
        for name, found in groupby(heapq.merge(*map(self._spans, range(self._runs))), itemgetter(0)):
            names.append(name)
            before = pending
            for _, run, start, stop in found:
                documents, counts = runs[run]
                parts.append((documents[start:stop], counts[start:stop]))
                pending += stop - start
            sizes.append(pending - before)
            if pending >= piece:
                yield _joined(names, sizes, parts)
                names, sizes, parts, pending = [], [], [], 0
                runs = self._mapped_runs()  # what has been read need not stay in memory
        if names:
            yield _joined(names, sizes, parts)

    def _mapped_runs(self) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        return [(self._mapped("documents", run), self._mapped("counts", run)) for run in range(self._runs)]

    def _spans(self, run: int) -> Iterator[tuple[bytes, int, int, int]]:
        """(term, run, first posting, end) of a run's terms."""
        start = 0
        with self._file("terms", run).open("rb") as stream:
            for line, size in zip(stream, memoryview(self._mapped("sizes", run)), strict=True):
                yield line[:-1], run, start, start + size
                start += size

    def _mapped(self, name: str, run: int) -> NDArray[np.int32]:
        return np.asarray(np.load(self._file(f"{name}.npy", run), mmap_mode="r"))


def _joined(
    names: Sequence[bytes], sizes: Sequence[int], parts: Iterable[tuple[NDArray[np.int32], NDArray[np.int32]]]
) -> Postings:
    documents, counts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Postings(names, np.array(sizes, dtype=np.int64), documents, counts)
