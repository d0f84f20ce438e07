"""Products as the raw files hold them: read one by one, derived as in the original, refused where they are broken."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webshop_rows import options, product, raw_instruction, raw_product

from hiper.benchmarks.webshop import raw_files
from hiper.benchmarks.webshop.goals import HumanInstruction, goal_record, human_goals, parse_goal, synthetic_goals
from hiper.benchmarks.webshop.nouns import rule_nouns
from hiper.benchmarks.webshop.products import Product, draw_prices, parse_product, read_products
from hiper.benchmarks.webshop.raw_files import Entries, stream_array
from hiper.benchmarks.webshop.reward import score
from hiper.errors import UserError
from hiper.records import dumps

ROWS = [{"asin": f"A{number}", "text": 'x{["é\\' * number, "list": [{}, [1, -2.5e3]]} for number in range(9)]


def written(path: Path, content: str | bytes) -> Path:
    """The content in a file, gzipped when its name says so."""
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(params=["items.json", "items.json.gz"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@pytest.mark.parametrize("chunk", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_streamed_elements_equal_those_of_the_whole_file(
    file: Path, chunk: int, indent: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the buffer ends, the elements are those that the json module reads."""
    monkeypatch.setattr(raw_files, "_CHUNK", chunk)
    written(file, "\ufeff \n" + json.dumps(ROWS, indent=indent, ensure_ascii=False) + "\n ")
    assert list(stream_array(file)) == ROWS
    assert list(stream_array(written(file, " [ ] "))) == []


@pytest.mark.parametrize("chunk", [5, 1 << 20])
def test_a_file_cut_anywhere_is_refused_by_name(file: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is missing at the end, of the text or of its gzip form, nothing but a UserError comes out."""
    monkeypatch.setattr(raw_files, "_CHUNK", chunk)
    content = written(file, json.dumps(ROWS[:4])).read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match=file.name):
            list(stream_array(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": {}}', "expected a JSON array"),
        ('[{"a": 1}, 5]', "product 1: expected an object, found '5"),
        ('[{"a": 1} {"a": 2}]', "product 1: expected `,`"),
        ('[{"a": 1}, {"a": }]', "product 1: not valid JSON"),
        ('[{"a": NaN}]', "product 0: not valid JSON"),
        ('[{"a": 1},]', "product 1: expected an object"),
        ('[{"a": 1}] []', "something follows"),
        ('[{"a": ' + "[" * 100_000, "product 0: nested too deeply"),
        (b'[{"a": "\xff"}]', "damaged"),
    ],
)
def test_damage_in_an_array_is_told_with_its_place(file: Path, content: str | bytes, message: str) -> None:
    """The message has the file and the number of the product."""
    with pytest.raises(UserError, match=message) as error:
        list(stream_array(written(file, content)))
    assert str(file) in str(error.value)


def test_a_changed_byte_in_a_packed_file_is_noticed(tmp_path: Path) -> None:
    """The packed text may still unpack to valid JSON: its checksum is looked at too."""
    file = written(tmp_path / "items.json.gz", json.dumps(ROWS))
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        list(stream_array(file))


def test_entries_of_an_object_are_those_of_the_whole_file(file: Path) -> None:
    """Also with blanks, with a key twice (the later value counts) and with no entry."""
    text = ' {\n"a" : {"b": [1, "}"]} ,"c": null, "a":[2]\t} \n'
    assert dict(Entries(written(file, text))) == json.loads(text) == {"a": [2], "c": None}
    assert len(Entries(written(file, "{ }"))) == 0


def test_a_cut_or_damaged_object_is_refused_by_name(file: Path) -> None:
    """Every shorter file, and texts that are near to an object."""
    content = written(file, json.dumps({"a": {"b": 1}, "c": {}})).read_bytes()
    damaged = [b'{"a" 1}', b"{1: 2}", b'{"a": 1,}', b'{"a": 1} 2', b"[]", b'{"a": 1 "b": 2}', b"\xff", b"{,}"]
    for part in [*(content[:length] for length in range(len(content))), *damaged]:
        file.write_bytes(part)
        with pytest.raises(UserError, match=file.name):
            Entries(file)


def test_fields_are_derived_as_in_the_original() -> None:
    """Names and values lower case, `/` set off, absent options passed over, the query stripped."""
    made = product()
    assert made.options == {"size": ("8", "9 | 10"), "color": ("navy", "coal")}
    assert (made.query, made.prices, made.price_tag) == ("walking shoes", (25.5,), "$25.5")
    assert made.bullets == ("Rubber Sole", "washable")
    assert product(small_description="one").bullets == ("one",)
    assert product(customization_options={"A": [{"value": "x"}], "a": [{"value": "y"}]}).options == {"a": ("y",)}
    assert parse_product(raw_product(), {}, "test").attributes == ("DUMMY_ATTR",)
    assert parse_product(raw_product(), {}, "test").instruction is None


@pytest.mark.parametrize(
    ("pricing", "prices", "tag"),
    [
        ("", (100.0,), "$100.0"),
        (None, (100.0,), "$100.0"),
        ("$877.80", (877.8,), "$877.8"),
        ("$1,299.00", (1299.0,), "$1299.0"),
        ("$10.99 - $24.50", (10.99, 24.5), "$10.99 to $24.5"),
        ("from $1 to $2 or $3", (1.0, 2.0), "$1.0 to $2.0"),
    ],
)
def test_prices_are_read_from_their_text(pricing: str | None, prices: tuple[float, ...], tag: str) -> None:
    """One price, a range, or none; and the tag that pages show."""
    made = product(pricing=pricing)
    assert (made.prices, made.price_tag) == (prices, tag)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pricing": "12.50"}, "pricing"),
        ({"pricing": "$"}, "pricing"),
        ({"pricing": "$1.2.3"}, "pricing"),
        ({"pricing": "$" + "9" * 400}, "pricing"),
        ({"pricing": 12.5}, "pricing"),
        ({"name": None}, "name"),
        ({"name": "half \ud83d of a pair"}, "name"),
        ({"full_description": None}, "full_description"),
        ({"small_description": None}, "small_description"),
        ({"small_description": ["a", None]}, "small_description"),
        ({"query": 3}, "query"),
        ({"category": ["a"]}, "category"),
        ({"product_category": {}}, "product_category"),
        ({"customization_options": ["size"]}, "customization_options"),
        ({"customization_options": {"Size": "8"}}, "customization_options"),
        ({"customization_options": {"Size": [{"image": None}]}}, "customization_options"),
        ({"customization_options": {"Size": [{"value": 8}]}}, "customization_options"),
        ({"customization_options": {"\udc00": []}}, "customization_options"),
    ],
)
def test_a_broken_field_is_named_with_its_product(changes: dict[str, Any], field: str) -> None:
    """The message has the place, the asin and the field, and can be written to any terminal."""
    with pytest.raises(UserError) as error:
        product(**changes)
    message = str(error.value)
    assert message.startswith("test (B000000001): ")
    assert f"`{field}`" in message
    message.encode("utf-8")


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"attributes": None}, "attributes"),
        ({"attributes": ["a", 1]}, "attributes"),
        (raw_instruction(instruction=5), "instruction"),
        (raw_instruction(instruction_attributes=None), "instruction_attributes"),
        (raw_instruction(instruction_attributes=[]), "instruction_attributes"),
    ],
)
def test_a_broken_instruction_is_named_with_its_product(entry: dict[str, Any], field: str) -> None:
    """A goal without attributes, for which the original divides by zero, is refused when it is read."""
    with pytest.raises(UserError, match=rf"test \(B000000001\): .*`{field}`"):
        product(entry=entry)


def test_unusable_and_repeated_products_are_passed_over(tmp_path: Path) -> None:
    """Counting towards the limit, as in the original; what follows the limit is not even read."""
    names = ["A1", "nan", "longer-than-ten", "A1", "A2", "A3"]
    rows = [raw_product(name, query=f"q{number}") for number, name in enumerate(names)]
    items = written(tmp_path / "items.json", json.dumps(rows)[:-1] + ", damaged")
    instructions = written(tmp_path / "ins.json", json.dumps({"A2": raw_instruction()}))
    read = list(read_products(items, instructions, limit=5))
    assert [(made.asin, made.query) for made in read] == [("A1", "q0"), ("A2", "q4")]
    assert [made.instruction for made in read] == [None, "Find me shoes"]
    with pytest.raises(UserError, match=r"items\.json: product 6"):
        list(read_products(items, instructions))


def test_only_a_price_range_draws_from_the_stream() -> None:
    """So that a product more or less with a single price leaves the other draws as they were."""
    ranges = product(pricing="$1 - $2"), product(pricing="$3 - $4")
    expected = Random(4)
    drawn = draw_prices([ranges[0], product(), ranges[1]], Random(4))
    assert drawn == [expected.uniform(1, 2), 25.5, expected.uniform(3, 4)]


TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(["\ud800", "", "$", "$1", "$9e9", "$٣", "[", "\n", "İ"])
NUMBERS = st.integers() | st.floats() | st.sampled_from(["$" + "9" * 320, "$0", "$-1", "$1-$0"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("value"), inner, max_size=3),
    max_leaves=8,
)
CHOICES = st.dictionaries(TEXTS, st.none() | st.lists(st.builds(lambda v: {"value": v}, TEXTS), max_size=3), max_size=3)
FIELDS = st.sampled_from([key for key in raw_product() if key != "images"])
PART = st.sampled_from(list(raw_instruction()))


@settings(max_examples=200)
@given(
    st.dictionaries(FIELDS, VALUES | TEXTS, max_size=3),
    st.dictionaries(PART, VALUES | st.lists(TEXTS, max_size=3), max_size=2),
    CHOICES,
    st.sets(FIELDS, max_size=1),
)
def test_a_product_that_is_accepted_can_be_used_in_full(
    changes: dict[str, Any], entry: dict[str, Any], choices: Any, missing: set[str]
) -> None:
    """Any content makes a product or a UserError with product and field; goals, rewards and files never fail later."""
    row = {**raw_product(customization_options=choices), **changes}
    row = {key: value for key, value in row.items() if key not in missing}
    asin = row["asin"] if isinstance(row.get("asin"), str) else "?"
    try:
        made = parse_product(row, {asin: raw_instruction(**entry)}, "test")
    except UserError as error:
        assert str(error).startswith("test")
        assert any(f"`{key}`" in str(error) for key in (*raw_product(), *raw_instruction()))
        str(error).encode("utf-8")
        return
    use(made)


def use(made: Product) -> None:
    """Goals of both kinds, the best and the empty purchase for each, and everything as JSON in UTF-8."""
    prices = draw_prices([made], Random(0))
    human = {made.asin: [HumanInstruction(made.title, ("a", made.title), (*made.attributes, ""))]}
    goals = synthetic_goals([made], prices, Random(0)) + human_goals([made], prices, human, Random(0))
    nouns = rule_nouns(made.title)
    for goal in goals[:30]:
        assert parse_goal(json.loads(dumps(goal_record(goal)).encode("utf-8")), "again") == goal
        for chosen in (goal.options if isinstance(goal.options, dict) else {}, {}):
            assert 0 <= score(goal, made, chosen, prices[0], nouns, nouns).total <= 1


def test_options_without_values_make_a_product_without_goals() -> None:
    """As in the original, where no combination is left."""
    made = product(customization_options=options(size=[]))
    assert made.options == {"size": ()}
    assert synthetic_goals([made], [1.0], Random(0)) == []
