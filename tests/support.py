"""What the tests proved of families of models: a test says so at its end (the fixture `supports`), `support.json` has
what was said when it last ran, and the page of model support is made of that file."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

RECORDS = Path(__file__).with_name("support.json")
RECORDING = "HIPER_RECORD_SUPPORT"

Proved = dict[str, list[str]]  # by family


def compare(test: str, said: Mapping[str, set[str]]) -> None:
    """Fail unless the records have of this test that has passed what it said; or, when asked to, record it."""
    found: Proved = {family: sorted(what) for family, what in sorted(said.items())}
    if os.environ.get(RECORDING):
        with RECORDS.open("r+", encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            known = json.load(stream) | {test: found}
            stream.seek(0)
            stream.truncate()
            lines = [f" {json.dumps(name)}: {json.dumps(said)}" for name, said in sorted(known.items()) if said]
            stream.write("{\n" + ",\n".join(lines) + "\n}\n")
    elif (recorded := json.loads(RECORDS.read_text(encoding="utf-8")).get(test, {})) != found:
        pytest.fail(f"{RECORDS.name} has {recorded} of this test, and it proved {found}: run it with {RECORDING}=1")
