"""The raw JSON files of WebShop, plain or gzipped; arrays are read value by value, as the full set has 5 GB."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from hiper.errors import UserError

_CHUNK = 1 << 20  # characters read at a time
_MAX_VALUE = 1 << 26  # characters of one array element, far above any product; beyond it the file is damaged
_BLANK = " \t\n\r"
_BLANKS = re.compile(f"[{_BLANK}]*")


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refused)


def open_text(path: Path) -> IO[str]:
    """`path` as UTF-8 text, unpacked when it begins like a gzip file; UserError when it cannot be opened."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    with stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig")


def raw_file(folder: Path, name: str) -> Path:
    """`name` in `folder`, or that name with `.gz`; UserError when neither is there."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise UserError(f"{folder}: has no {name}, plain or with .gz; give the folder with WebShop's raw files")


def _read(stream: IO[str], size: int, where: str) -> str:
    try:
        return stream.read(size)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{where}: cut short or damaged ({error}); fetch the file again") from None


def stream_array(path: Path, limit: int | None = None) -> Iterator[Any]:
    """The elements of a JSON array of objects, at most `limit`, holding one buffer of the file at a time.

    The rest of the file after the last wanted element is not read. Raises UserError naming file and element.
    """
    with open_text(path) as stream:
        position, buffer = _next(stream, "", 0, str(path))
        if buffer[position] != "[":
            raise UserError(f"{path}: expected a JSON array of products")
        position, number = position + 1, 0
        while limit is None or number < limit:
            where = f"{path}: product {number}"
            position, buffer = _next(stream, buffer, position, where)
            if buffer[position] == "]":
                buffer = buffer[position + 1 :] or _read(stream, _CHUNK, str(path))
                while buffer:  # reading on to the end of the file is also what checks gzip's checksum
                    if buffer.strip(_BLANK):
                        raise UserError(f"{path}: something follows the array of {number} products")
                    buffer = _read(stream, _CHUNK, str(path))
                return
            if number:
                if buffer[position] != ",":
                    raise UserError(f"{where}: expected `,` or the end of the array before it")
                position, buffer = _next(stream, buffer, position + 1, where)
            value, position, buffer = _decode(stream, buffer, position, where)
            yield value
            number += 1


def _next(stream: IO[str], buffer: str, position: int, where: str) -> tuple[int, str]:
    """The place of the next character that is not blank, and the buffer that has it."""
    while True:
        match = _BLANKS.match(buffer, position)
        if match and match.end() < len(buffer):
            return match.end(), buffer
        buffer, position = _read(stream, _CHUNK, where), 0
        if not buffer:
            raise UserError(f"{where}: the file ends before the array does; fetch it again")


def _decode(stream: IO[str], buffer: str, position: int, where: str) -> tuple[Any, int, str]:
    """The object at `position`; reads on while it seems cut off by the end of the buffer."""
    if buffer[position] != "{":
        raise UserError(f"{where}: expected an object, found {buffer[position : position + 20]!a}")
    while True:
        try:
            value, end = _DECODER.raw_decode(buffer, position)
            return value, end, buffer
        except RecursionError:
            raise UserError(f"{where}: nested too deeply") from None
        except ValueError as error:
            # The value may only be cut off by the end of the buffer: read on, each time as much again.
            buffer, position = buffer[position:], 0
            more = _read(stream, max(_CHUNK, len(buffer)), where) if len(buffer) <= _MAX_VALUE else ""
            if not more:
                raise UserError(f"{where}: not valid JSON, or cut short ({error})") from None
            buffer += more


class Entries(Mapping[str, Any]):
    """The entries of a file that holds one JSON object, parsed when asked for.

    The text is kept, and where each entry begins: for the full set's instructions 0.4 GB in place of more than 1 GB of
    parsed entries. All of it is checked at once. Raises UserError naming file and entry.
    """

    def __init__(self, path: Path) -> None:
        with open_text(path) as stream:
            self._text = _read(stream, -1, str(path))
        self._starts: dict[str, int] = {}
        key = ""
        try:
            for key, start in self._scanned():
                self._starts[key] = start
        except (ValueError, RecursionError) as error:
            after = f"after the entry {key[:40]!a}: " if key else ""
            reason = f"not a JSON object, or cut short ({str(error)[:100]})"
            raise UserError(f"{path}: {after}{reason}; fetch the file again") from None

    def _scanned(self) -> Iterator[tuple[str, int]]:
        position = self._after(0)
        if not self._text.startswith("{", position):
            raise ValueError("it does not begin with {")
        position, sign = self._after(position + 1), ","
        if self._text.startswith("}", position):
            position, sign = self._after(position + 1), "}"
        while sign == ",":
            key, position = _DECODER.raw_decode(self._text, position)
            position = self._after(position)
            if not isinstance(key, str) or self._text[position : position + 1] != ":":
                raise ValueError(f"no key at character {position}")
            start = self._after(position + 1)
            _, position = _DECODER.raw_decode(self._text, start)
            yield key, start
            position = self._after(position)
            sign, position = self._text[position : position + 1], self._after(position + 1)
        if sign != "}" or position < len(self._text):
            raise ValueError(f"expected `,` or its end at character {position}")

    def _after(self, position: int) -> int:
        """The place of the first character from `position` on that is not blank."""
        match = _BLANKS.match(self._text, position)
        return match.end() if match else position

    def __getitem__(self, key: str) -> Any:
        return _DECODER.raw_decode(self._text, self._starts[key])[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._starts)

    def __len__(self) -> int:
        return len(self._starts)
