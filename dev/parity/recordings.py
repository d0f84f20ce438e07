"""Recordings of original environments: reading them, and where the data may lie that they were made on."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.paths import expanded

PROJECT = Path(__file__).resolve().parents[2]
SHARED = "HIPER_SHARED_DATA"


def read_recording(file: Path) -> Any:
    """The value in a JSON file, plain or gzipped whatever its name; UserError names the file."""
    try:
        content = file.read_bytes()
        return json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    except (ValueError, EOFError, RecursionError, zlib.error) as error:
        raise UserError(f"{file}: not JSON, plain or gzipped ({error})") from None


def places(data: Path | None, variable: str, benchmark: str, around: Sequence[Path] = ()) -> list[Path]:
    """The folders to look for a benchmark's data in, in order.

    `data`, where it is given, and the folders in it. Else the folder that the environment variable names, those of
    `around`, the project's own data sets, and in $HIPER_SHARED_DATA or `shared` beside the project the benchmark's
    folder, and those around it.
    """
    if data is not None:
        return [data, *_folders(data)]
    own = os.environ.get(variable)
    shared = expanded(os.environ.get(SHARED, str(PROJECT.parent / "shared")), SHARED)
    usual = [*([expanded(own, variable)] if own else []), *around, *_folders(PROJECT / "data")]
    usual += [shared / "data" / benchmark, shared / "data", shared]
    return [place for place in usual if place.is_dir()]


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("*") if path.is_dir())
