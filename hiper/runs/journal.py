"""Rows of a piece of work as they are finished, so that a process that was killed goes on behind the last of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.records import append_jsonl, dumps, read_jsonl, write_jsonl

log = logging.getLogger(__name__)


class Journal:
    """A JSONL file whose first line says what the work is; each further line holds the rows of one finished part.

    `identity` is everything that determines the rows: a journal of other work is discarded, said loudly. `parts` holds
    the rows of each finished part, in order.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.parts: list[list[Any]] = []
        if path.exists():
            self.parts = self._finished(identity)
        write_jsonl(path, [identity, *self.parts])  # without the line that a kill may have cut short

    def _finished(self, identity: dict[str, Any]) -> list[list[Any]]:
        try:
            head, *parts = read_jsonl(self.path, partial_ok=True) or [None]
        except UserError as error:
            log.error("%s; starting afresh", error)
            return []
        if head != identity:
            log.warning("%s: belongs to another model, other games or other settings; starting afresh", self.path)
            return []
        return parts

    def append(self, rows: Sequence[Any]) -> None:
        append_jsonl(self.path, list(rows))
        self.parts.append(list(rows))

    def digest(self) -> str:
        """SHA-256 of the file that `finish` writes."""
        summed = hashlib.sha256()
        for row in self._rows():
            summed.update(f"{dumps(row)}\n".encode())
        return summed.hexdigest()

    def finish(self, target: Path) -> None:
        """Write all rows to `target` and forget the journal."""
        write_jsonl(target, self._rows())
        self.path.unlink()

    def _rows(self) -> Iterator[Any]:
        return (row for part in self.parts for row in part)
