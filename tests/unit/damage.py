"""Ways to damage a file, and what a reader may do with it: give a value, or an error that names the file.

What is damaged are real files, made by the real stages.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hiper.errors import UserError
from hiper.records import read_json, write_json

few = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
many = settings(few, max_examples=120)


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A way to damage the bytes of a file: cut it, flip bits, insert or drop a piece; for JSON also a changed value."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop", "value", "value"]))
    place, piece = draw(st.floats(0, 1, exclude_max=True)), draw(st.binary(min_size=1, max_size=6))
    bits, odd = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4)), draw(ODD)
    where = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=6))

    def damage(content: bytes) -> bytes:
        at = int(place * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "insert":
            return content[:at] + piece + content[at:]
        if kind == "drop":
            return content[:at] + content[at + len(piece) :]
        if kind == "value" and content.lstrip()[:1] == b"{":
            line, *rest = content.split(b"\n", 1) if b"}\n{" in content else [content]
            return json.dumps(replaced(json.loads(line), where, odd)).encode() + b"".join([b"\n", *rest])
        flipped = bytearray(content)
        for share, bit in bits:
            flipped[int(share * len(content))] ^= 1 << bit
        return bytes(flipped)

    return damage


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 10**12, 10**400, 1e308, "", "../../x", "/etc/passwd", "\ud800", "a\0b"]),
    st.sampled_from([[], {}, [[]], {"": None}]),
    st.text(max_size=5),
)  # fmt: skip


def replaced(value: Any, where: list[int], odd: Any) -> Any:
    """`value` with one part replaced or removed: `where` chooses the way down."""
    value = copy.copy(value)
    if not isinstance(value, dict | list) or not value or not where:
        return odd
    key: Any = sorted(value)[where[0] % len(value)] if isinstance(value, dict) else where[0] % len(value)
    if len(where) == 1 and where[0] % 3 == 0:
        del value[key]
    else:
        value[key] = replaced(value[key], where[1:], odd)
    return value


def read_or_refused(path: Path, content: bytes, damage: Callable[[bytes], bytes], read: Callable[[], Any]) -> None:
    """Read with the damaged file in place of the whole one; an error must name it, on one screen."""
    path.write_bytes(damage(content))
    try:
        read()
    except UserError as error:
        text = str(error)
        assert str(path) in text or str(path.parent) in text, text
        assert len(text.splitlines()) <= 24 and len(text) < 3000, text
    finally:
        path.write_bytes(content)


def edited(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})
