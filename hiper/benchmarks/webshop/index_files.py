"""The files of a search index: arrays that processes map into memory and share, and `index.json`, which seals them.

`index.json` names the format, the analyzer, the counts, and size and SHA-256 of every array. It is written last.

    asins.npy             uint8 [..]            the asins' UTF-8, one after the other, in the order of the documents
    asin_offsets.npy      int64 [documents+1]   where each begins in it
    ranks.npy             int32 [documents]     the document's place when asins are sorted
    terms.npy             uint8 [..]            the terms' UTF-8, ascending
    term_offsets.npy      int64 [terms+1]       where each begins in it
    posting_offsets.npy   int64 [terms+1]       where each term's postings begin
    documents.npy         int32 [postings]      numbers of the documents that have the term, ascending
    impacts.npy           float32 [postings]    what the term adds to their scores
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiper.benchmarks.webshop.analyzer import ANALYZER
from hiper.benchmarks.webshop.bm25 import K1, B
from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, atomic_write, read_json, require, sha256_file, write_json

INDEX = "index.json"
FORMAT = "WebShop search index 1"
PARTS = {
    "asins": np.uint8,
    "asin_offsets": np.int64,
    "ranks": np.int32,
    "terms": np.uint8,
    "term_offsets": np.int64,
    "posting_offsets": np.int64,
    "documents": np.int32,
    "impacts": np.float32,
}
COUNTS = ("documents", "terms", "postings")


def write_part(folder: Path, name: str, values: NDArray[Any]) -> None:
    with atomic_write(folder / f"{name}.npy", "wb") as stream:
        np.save(stream, values.astype(PARTS[name]))


def write_streamed(folder: Path, pieces: Iterable[Mapping[str, NDArray[Any]]], size: int) -> None:
    """Write `documents` and `impacts`, which arrive piece by piece and have `size` elements in the end."""
    with (
        atomic_write(folder / "documents.npy", "wb") as documents,
        atomic_write(folder / "impacts.npy", "wb") as impacts,
    ):
        streams = {"documents": documents, "impacts": impacts}
        for name, stream in streams.items():
            header = {"descr": np.dtype(PARTS[name]).str, "fortran_order": False, "shape": (size,)}
            np.lib.format.write_array_header_1_0(stream, header)
        for piece in pieces:
            for name, stream in streams.items():
                stream.write(piece[name].astype(PARTS[name]).tobytes())


def seal(folder: Path, counts: Mapping[str, int]) -> None:
    """Write `index.json`; `counts` has the numbers of `COUNTS`."""
    files = {}
    for name in PARTS:
        path = folder / f"{name}.npy"
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_json(folder / INDEX, {**_identity(), **counts, "files": files})


def _identity() -> dict[str, Any]:
    return {"format": FORMAT, "analyzer": ANALYZER, "k1": K1, "b": B}


def open_parts(folder: Path, *, compare_checksums: bool) -> dict[str, NDArray[Any]]:
    """The arrays of `PARTS`, mapped read-only. UserError names the file that is missing, damaged or of another kind.

    `compare_checksums` reads everything once.
    """
    path = folder / INDEX
    index = require(
        read_json(path, MAKE_DATA_AGAIN), {"format": str, "files": dict, **dict.fromkeys(COUNTS, int)}, str(path)
    )
    for key, value in _identity().items():
        if index.get(key) != value:
            raise UserError(f"{path}: `{key}` is {index.get(key)!r}, this version needs {value!r}; {MAKE_DATA_AGAIN}")
    arrays = {name: _open_part(folder / f"{name}.npy", index["files"], compare_checksums) for name in PARTS}
    sizes = {
        "asin_offsets": index["documents"] + 1,
        "ranks": index["documents"],
        "term_offsets": index["terms"] + 1,
        "posting_offsets": index["terms"] + 1,
        "documents": index["postings"],
        "impacts": index["postings"],
        "asins": arrays["asin_offsets"][-1],
        "terms": arrays["term_offsets"][-1],
    }
    for name, size in sizes.items():
        if arrays[name].shape != (size,) or arrays[name].dtype != PARTS[name]:
            raise UserError(
                f"{folder / name}.npy: {arrays[name].shape} values, {INDEX} wants {size}; {MAKE_DATA_AGAIN}"
            )
    return arrays


def _open_part(path: Path, files: Mapping[str, Any], compare_checksums: bool) -> NDArray[Any]:
    wanted = require(files.get(path.name), {"bytes": int, "sha256": str}, f"{path.parent / INDEX}: {path.name}")
    try:
        size = path.stat().st_size
        if size != wanted["bytes"]:
            raise UserError(f"{path}: {size} bytes, {INDEX} says {wanted['bytes']}; {MAKE_DATA_AGAIN}")
        if compare_checksums and sha256_file(path) != wanted["sha256"]:
            raise UserError(f"{path}: its content is not what {INDEX} says; {MAKE_DATA_AGAIN}")
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file, but {INDEX} names it; {MAKE_DATA_AGAIN}") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not an array ({error}); {MAKE_DATA_AGAIN}") from None
