"""The data set's folder: made whole or not at all, equal bytes for equal settings, read lazily, damage named."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webshop_sets import files, settings, write_raw

from hiper.benchmarks.webshop import catalogue
from hiper.benchmarks.webshop.dataset import Dataset
from hiper.benchmarks.webshop.making import divided
from hiper.benchmarks.webshop.orders import fixed_order, hiper_order, original_order
from hiper.benchmarks.webshop.products import Product, read_products
from hiper.benchmarks.webshop.session import Catalogue, Session
from hiper.benchmarks.webshop.sources import make_dataset
from hiper.errors import UserError


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def products(raw: Path) -> list[Product]:
    return list(read_products(raw / "items_shuffle_1000.json", raw / "items_ins_v2_1000.json"))


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("made") / "shop"
    make_dataset(settings("folder", folder=raw), folder)
    return folder


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    """In every file; another seed gives other products."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_dataset(settings(shop=seed), tmp_path / name)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")["products.jsonl"] != files(tmp_path / "c")["products.jsonl"]


def test_it_is_the_shop_that_the_raw_files_describe(made: Path, products: list[Product]) -> None:
    """Every product, its price and the nouns of its title come back by asin, title, query and category."""
    shop: Catalogue = (dataset := Dataset(made))
    ordered = fixed_order(products)
    assert [shop.product(product.asin) for product in products] == products
    assert [shop.price(product.asin) for product in products] == list(ordered.prices.values())
    assert any(len(product.prices) == 2 for product in products)
    for product in products:
        assert set(shop.nouns(product.title)) <= set(product.title.lower().split())
        assert shop.nouns(product.title)
    for query in ("teas", "hats"):
        assert shop.by_query(query) == [product.asin for product in products if product.query == query]
    assert shop.by_category("garden") == [product.asin for product in products if product.category == "garden"]
    assert shop.by_query("no such") == shop.by_category("no such") == []
    drawn = shop.random_products(50)
    assert len(set(drawn)) == 50 <= len(products)
    assert dataset.description.counts["products"] == len(products) == 60


@pytest.mark.parametrize("asin", ["", "B", "BÄ", "B\0", "A" * 11, "\ud800"])
def test_an_unknown_asin_is_a_key_error(made: Path, asin: str) -> None:
    """Whatever text an agent may come up with."""
    with pytest.raises(KeyError):
        Dataset(made).product(asin)


def test_goals_come_back_by_task(made: Path, products: list[Product]) -> None:
    """Tasks are sorted by id, know the category of the product, and lead to the goals in the order asked for."""
    dataset, goals = Dataset(made), fixed_order(products).goals
    for split in ("test", "dev", "train"):
        tasks = dataset.tasks(split)
        assert [task.id for task in tasks] == sorted(task.id for task in tasks)
        assert len(tasks) == dataset.description.splits[split]["goals"]
        assert {task.split for task in tasks} == {split}
        for task in tasks:
            goal = dataset.goal(task.id)
            number = int(task.id.partition("/")[2].partition("-")[0])
            assert goal == goals[number] == dataset.goal_at(number)
            assert task.task_type == goal.category
    assert [dataset.goal(task.id) for task in dataset.tasks("test")] == goals[:20]
    with pytest.raises(UserError, match="another data set"):
        dataset.goal("test/0000000-NOSUCH")


def test_a_shopper_who_knows_the_goal_gets_the_full_reward(made: Path) -> None:
    """Search, product, options, purchase, on the first goals of each split."""
    dataset = Dataset(made)
    for task in [task for split in ("test", "dev", "train") for task in dataset.tasks(split)[:10]]:
        goal = dataset.goal(task.id)
        assert isinstance(goal.options, dict)
        session = Session(dataset, goal)
        actions = [
            f"search[{goal.name}]",
            f"click[{goal.asin}]",
            *(f"click[{value}]" for value in goal.options.values()),
        ]
        for action in actions:
            assert session.step(action).accepted, (task.id, action)
        assert session.step("click[buy now]").reward == 1.0


def test_no_purchase_of_an_evaluation_split_is_asked_for_in_training(tmp_path: Path) -> None:
    """In the fixed order; goals of people may ask for the same purchase twice, which then counts for one split only."""
    raw = write_raw(tmp_path / "raw")
    human = json.loads((raw / "items_human_ins.json").read_text())
    (raw / "items_human_ins.json").write_text(json.dumps({asin: rows * 3 for asin, rows in human.items()}))
    for order in ("fixed", "original"):
        make_dataset(settings("folder", folder=raw, kind="human", order=order), tmp_path / order)
        dataset = Dataset(tmp_path / order)
        wishes = {
            split: {dataset.goal(task.id).wish for task in dataset.tasks(split)} for split in ("test", "dev", "train")
        }
        shared = wishes["train"] & (wishes["test"] | wishes["dev"]) | wishes["test"] & wishes["dev"]
        total = sum(dataset.description.splits[split]["goals"] for split in wishes)
        assert bool(shared) == (order == "original")
        assert (total < 120) == (order == "fixed")


@pytest.mark.parametrize("order", ["original", "hiper"])
def test_the_orders_of_other_code_are_followed_to_the_letter(
    raw: Path, products: list[Product], tmp_path: Path, order: str
) -> None:
    """Their seed decides, the number of a goal is its position there, and the split is by position alone."""
    make_dataset(settings("folder", folder=raw, order=order, seed=7), tmp_path / "shop")
    dataset = Dataset(tmp_path / "shop")
    expected = (original_order if order == "original" else hiper_order)(products, 7)
    assert [dataset.goal_at(number) for number in range(len(expected.goals))] == expected.goals
    assert [dataset.price(product.asin) for product in products] == list(expected.prices.values())
    assert sum(len(dataset.tasks(split)) for split in ("test", "dev", "train")) == len(expected.goals)


def test_splits_without_goals_are_an_error(products: list[Product], tmp_path: Path) -> None:
    """The message names the settings; a dev split of 0 goals is one that nobody wants."""
    with pytest.raises(UserError, match=r"data\.goals: \d+ goals leave none for the split dev with test = 9000"):
        make_dataset(settings(test=9000), tmp_path / "shop")
    assert not (tmp_path / "shop").exists()
    goals = fixed_order(products).goals
    assert sorted(set(divided(goals, settings(dev=0).data.goals))) == [0, 2]


def test_the_real_small_set_comes_out_as_recorded(shared_data: Path, tmp_path: Path) -> None:
    """All 6910 goals in the original's order, every price, and the 458 goals that the original's reward cannot meet."""
    asked = settings(
        "folder", folder=shared_data / "data" / "webshop", order="original", seed=20240601, test=500, dev=1000
    )
    make_dataset(asked, tmp_path / "shop")
    dataset = Dataset(tmp_path / "shop")
    with gzip.open(shared_data / "golden" / "webshop" / "goals_princeton_pre20240601.json.gz") as stream:
        recorded = json.load(stream)
    goals = [dataset.goal_at(number) for number in range(len(recorded["goals"]))]
    assert [(goal.asin, goal.instruction) for goal in goals] == [
        (goal["asin"], goal["instruction_text"]) for goal in recorded["goals"]
    ]
    assert {asin: dataset.price(asin) for asin in recorded["product_prices"]} == recorded["product_prices"]
    assert dataset.description.counts == {"products": 1000, "goals": 6910, "reachable": 6910 - 458}
    assert [len(dataset.tasks(split)) for split in ("test", "dev", "train")] == [500, 1000, 5410]


def names(folder: Path) -> list[str]:
    return sorted(files(folder))


def test_every_file_that_is_cut_off_or_missing_is_named(made: Path, tmp_path: Path) -> None:
    """With what to do about it; opening does not wait until the file is needed."""
    for name in names(made):
        for cut in (True, False):
            folder = tmp_path / "copy"
            shutil.copytree(made, folder)
            path = folder / name
            if cut:
                path.write_bytes(path.read_bytes()[:-1])
            else:
                path.unlink()
            if cut and name == "dataset.json":
                path.write_bytes(path.read_bytes()[:-5])
            with pytest.raises(UserError, match=f"{path.name}.*(make|stage that makes)"):
                Dataset(folder)
            shutil.rmtree(folder)


def test_arrays_of_another_kind_are_refused(made: Path, tmp_path: Path) -> None:
    """Even of the right size: a pickle, another type, another shape."""
    for name in [name for name in names(made) if name.endswith(".npy") and "/" not in name]:
        folder = tmp_path / "copy"
        for damage in (b"\x80\x04", b"\x93NUMPY\x01\x00\xff\xff"):
            shutil.copytree(made, folder)
            content = (folder / name).read_bytes()
            (folder / name).write_bytes(damage + content[len(damage) :])
            with pytest.raises(UserError, match=name):
                Dataset(folder)
            shutil.rmtree(folder)
        shutil.copytree(made, folder)
        content = (folder / name).read_bytes()
        kind = np.load(folder / name).dtype.str
        other = kind.translate(str.maketrans("ifuS", "fiiV"))
        (folder / name).write_bytes(content.replace(kind.encode(), other.encode(), 1))
        with pytest.raises(UserError, match=name):
            Dataset(folder)
        shutil.rmtree(folder)


def test_numbers_that_lead_nowhere_are_refused(made: Path, tmp_path: Path) -> None:
    """A place or a name that does not exist, a row that ends before it begins: found when the folder is opened."""
    for name in [name for name in names(made) if name.endswith(".npy") and "/" not in name]:
        values = np.load(made / name)
        if values.dtype.kind != "i":
            continue
        for number in (1 << 30, -1):
            shutil.copytree(made, tmp_path / "copy")
            values.flat[1] = number
            np.save(tmp_path / "copy" / name, values)
            with pytest.raises(UserError, match=f"{name}: damaged"):
                Dataset(tmp_path / "copy")
            shutil.rmtree(tmp_path / "copy")


@pytest.mark.parametrize("line", [b"{}", b"[1]", b'{"asin"', b"\xff", b'{"asin":"B","title":1}', b"[" * 200])
@pytest.mark.parametrize("name", ["products.jsonl", "goals.jsonl"])
def test_a_row_of_another_kind_is_named_when_it_is_read(made: Path, tmp_path: Path, name: str, line: bytes) -> None:
    """File and line, and no other exception."""
    shutil.copytree(made, tmp_path / "copy")
    path = tmp_path / "copy" / name
    rows = path.read_bytes().split(b"\n")
    rows[0] = line.ljust(len(rows[0]))
    path.write_bytes(b"\n".join(rows))
    dataset = Dataset(tmp_path / "copy")
    first = json.loads((made / "products.jsonl").read_bytes().split(b"\n")[0])["asin"]
    with pytest.raises(UserError, match=rf"{name}:1"):
        dataset.goal_at(0) if name == "goals.jsonl" else dataset.product(first)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "expected a JSON object"),
        ("{}", "not a data set of webshop"),
        ('{"benchmark": "alfworld"}', "'alfworld'; not a data set of webshop"),
        ('{"benchmark": "webshop"}', "no dataset"),
        (None, "make the data set first"),
    ],
)
def test_a_foreign_folder_is_an_error_that_says_so(tmp_path: Path, content: str | None, words: str) -> None:
    """Another benchmark's data set, another file of the same name, no data set at all."""
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=rf"dataset\.json: .*{words}"):
        Dataset(tmp_path)


def test_another_format_is_refused(made: Path, tmp_path: Path) -> None:
    """A later version's files may mean something else."""
    shutil.copytree(made, tmp_path / "copy")
    index = json.loads((made / "dataset.json").read_text())
    (tmp_path / "copy" / "dataset.json").write_text(json.dumps(index | {"format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Dataset(tmp_path / "copy")


WRITES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.rmtree"}


def killed_while_making(output: Path, point: int, asked: Any) -> bool:
    """Make a data set in a child process that is killed before its `point`-th change of the file system, if any."""
    child = os.fork()
    if child == 0:
        left = [point]

        def strike(event: str, arguments: tuple[Any, ...]) -> None:
            if event in WRITES and not (event == "open" and arguments[1] in ("r", "rb", None)):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(strike)
        try:
            make_dataset(asked, output)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("old", [False, True], ids=["first", "replaced"])
def test_a_killed_maker_leaves_nothing_half_made(tmp_path: Path, old: bool) -> None:
    """At many changes of the file system: the folder is absent, or whole (the old data set or the new one), and
    the next maker ends with the right bytes and leaves nothing else behind."""
    asked, before = settings(count=25, test=5, dev=5), settings(count=20, test=5, dev=5)
    make_dataset(asked, tmp_path / "expected" / "shop")
    make_dataset(before, tmp_path / "before" / "shop")
    expected, previous = files(tmp_path / "expected"), files(tmp_path / "before")
    point, kills = 3, 0
    while True:
        home = tmp_path / str(point)
        if old:
            shutil.copytree(tmp_path / "before", home)
        home.mkdir(exist_ok=True)
        if not killed_while_making(home / "shop", point, asked):
            break
        kills += 1
        visible = {name: content for name, content in files(home).items() if not name.startswith(".")}
        assert visible in ([expected, previous] if old else [expected, {}]) or (old and not visible)
        make_dataset(asked, home / "shop")
        assert files(home) == expected
        point += 17
    assert kills > 4


GROWTH = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from webshop_sets import settings
from hiper.benchmarks.webshop import making, sources
sources.make_dataset(settings(count=200), Path({folder!r}) / "small")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sources.make_dataset(settings("folder", folder=Path({folder!r}) / "raw"), Path({folder!r}) / "large")
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_grows_far_less_than_the_products(tmp_path: Path) -> None:
    """Twenty thousand products with 170 MB of text, few of which have goals: they are never held together."""
    (tmp_path / "raw").mkdir()
    instructions = {}
    with (tmp_path / "raw" / "items_shuffle_1000.json").open("w") as stream:
        for number, (item, entry) in enumerate(catalogue.draw(20_000, 1)):
            item["small_description"] += [f"{item['name']} {number} " * 200]  # only the first one is indexed
            stream.write(("," if number else "[") + json.dumps(item))
            if number < 500:
                instructions[item["asin"]] = entry
        stream.write("]")
    (tmp_path / "raw" / "items_ins_v2_1000.json").write_text(json.dumps(instructions))
    script = GROWTH.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, after = (int(number) / 1024 for number in done.stdout.split())
    assert after - before < 60
