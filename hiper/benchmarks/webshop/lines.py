"""JSON lines with random access: a file of rows, and beside it where each row begins."""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from hiper.errors import UserError
from hiper.records import MAKE_DATA_AGAIN, atomic_write, dumps


def offsets_file(path: Path) -> Path:
    return path.with_suffix(".offsets.npy")


def write_lines(path: Path, rows: Iterable[Any]) -> int:
    """Write one canonical JSON line per row, and `<name>.offsets.npy`; returns the number of rows.

    Rows are taken one at a time and not kept.
    """
    offsets = array("q", [0])
    with atomic_write(path, "wb") as stream:
        for row in rows:
            line = dumps(row).encode()
            stream.write(line + b"\n")
            offsets.append(offsets[-1] + len(line) + 1)
    write_array(offsets_file(path), np.asarray(offsets, np.int64))
    return len(offsets) - 1


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    with atomic_write(path, "wb") as stream:
        np.save(stream, values, allow_pickle=False)


def read_array(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], below: Sequence[int] | int | None = None
) -> npt.NDArray[Any]:
    """An array of `dtype` and `shape`, mapped and not copied; UserError for a file that holds anything else.

    With `below`, the values (or those of each column) are to lie in [0, below).
    """
    try:
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {MAKE_DATA_AGAIN}") from None
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: damaged or no array ({error}); {MAKE_DATA_AGAIN}") from None
    if not isinstance(values, np.ndarray) or values.dtype != np.dtype(dtype) or values.shape != shape:
        raise UserError(f"{path}: not an array of shape {shape} and type {np.dtype(dtype)}; {MAKE_DATA_AGAIN}")
    if below is not None and not np.all((values >= 0) & (values < np.asarray(below))):
        raise UserError(f"{path}: damaged, some of its numbers are out of range; {MAKE_DATA_AGAIN}")
    return values


class Lines(Sequence[Any]):
    """The rows of a file that `write_lines` made, parsed when asked for. Nothing is kept, so keep what you need."""

    def __init__(self, path: Path, length: int) -> None:
        """Raises UserError when the file or its offsets are missing, cut off, or not of `length` rows."""
        self.path = path
        self._offsets = read_array(offsets_file(path), np.int64, (length + 1,))
        try:
            with path.open("rb") as stream:
                self._size = stream.seek(0, 2)
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if self._size else b""
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; {MAKE_DATA_AGAIN}") from None
        if self._size != self._offsets[-1]:
            raise UserError(
                f"{path}: has {self._size} bytes where {offsets_file(path).name} tells of {self._offsets[-1]}; "
                f"{MAKE_DATA_AGAIN}"
            )
        if np.any(np.diff(self._offsets) < 0):
            raise UserError(f"{offsets_file(path)}: damaged, a row ends before it begins; {MAKE_DATA_AGAIN}")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        number = index % len(self)
        return self._parsed(self._bytes[self._offsets[number] : self._offsets[number + 1]], number)

    def __iter__(self) -> Iterator[Any]:
        """In order, read as a stream: mapped pages would count as this process's memory."""
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream):
                yield self._parsed(line, number)

    def _parsed(self, line: bytes, number: int) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.path}:{number + 1}: not valid JSON ({error}); {MAKE_DATA_AGAIN}") from None


class Keys:
    """Where a key stands in a list, without holding the list: sorted keys and their places, both mapped.

    `keys` [n] may hold a key more than once.
    """

    def __init__(self, keys: npt.NDArray[Any], places: npt.NDArray[np.int32]) -> None:
        self._keys, self._places = keys, places

    @classmethod
    def write(cls, path: Path, keys: npt.NDArray[Any]) -> None:
        order = np.argsort(keys, kind="stable").astype(np.int32)
        write_array(path.with_name(f"{path.name}.keys.npy"), keys[order])
        write_array(path.with_name(f"{path.name}.places.npy"), order)

    @classmethod
    def read(cls, path: Path, dtype: npt.DTypeLike, length: int) -> Keys:
        keys = read_array(path.with_name(f"{path.name}.keys.npy"), dtype, (length,))
        return cls(keys, read_array(path.with_name(f"{path.name}.places.npy"), np.int32, (length,), length))

    def __len__(self) -> int:
        return len(self._keys)

    def listed(self) -> npt.NDArray[Any]:
        """[n] The keys in the list's order."""
        keys = np.empty_like(self._keys)
        keys[self._places] = self._keys
        return keys

    def find(self, key: Any) -> list[int]:
        """The places of `key`, ascending; none if it is not in the list."""
        wanted = np.asarray(key, self._keys.dtype)  # of another type, the search would convert a copy of all keys
        first = int(np.searchsorted(self._keys, wanted, "left"))
        last = first
        while last < len(self._keys) and self._keys[last] == wanted:
            last += 1
        return [int(place) for place in self._places[first:last]]
