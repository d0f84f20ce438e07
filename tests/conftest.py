"""Shared fixtures."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Some hundred processes are started, and workers besides: none shall compile the modules that another has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples each time, however busy the machine; `pytest --hypothesis-profile=default` looks for others.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real games (`data/`) and the recordings of the original code (`golden/`), or a skip."""
    folder = Path(os.environ.get("HIPER_SHARED_DATA", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no recordings at {folder}: set HIPER_SHARED_DATA to the folder that holds data/ and golden/")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make what many tests only read once for all workers: `made_once(name, make)` is the folder that `make` filled for
    the first worker who asked; others wait for that."""
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, finished = root / f"{name}-of-all", root / f"{name}.finished"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def prepared(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with games, demonstrations, tokenizer and a warm start of a few steps; it stays as it is."""
    from pipeline import prepare, run_settings

    return made_once("prepared", lambda folder: prepare(folder, run_settings()))


@pytest.fixture(scope="session")
def committed(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A copy of the project in a repository of its own, to be cloned."""
    from checkout import longer_project

    return made_once("committed", longer_project)


@pytest.fixture(scope="session")
def reference(committed: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A clone in which the whole experiment `test` has run undisturbed; it stays as it is."""
    from checkout import clone, run_whole

    return made_once("reference", lambda folder: run_whole(clone(committed, folder)))


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A byte-level BPE with the tags as single tokens, learned from a few sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from hiper.learning.guide import TAGS

    sentences = ("go to desk 1", "go to desk 10", "look", "take mug 1 from desk 1")
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=["<|end|>", *TAGS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    made.train_from_iterator([*sentences, "KEEP", "SWITCH", "find a mug"] * 3, trainer)
    path: Path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    template = "{% for message in messages %}{{ message['content'] }}<|end|>{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), eos_token="<|end|>", chat_template=template, clean_up_tokenization_spaces=False
    )


PASSED = pytest.StashKey[bool]()


@pytest.fixture
def supports(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """At its end a test says what it has proved of a family of models: `supports("phi", "loads", "trains")`, in the
    words of dev/pages/support.py. It fails if `support.json` does not have that."""
    from support import compare

    said: dict[str, set[str]] = {}
    yield lambda family, *what: said.setdefault(family, set()).update(what)
    if request.node.stash.get(PASSED, False):
        compare(request.node.nodeid.split("@")[0], said)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(scope="session")
def empty_database(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """MLflow's database, migrated, without an experiment of ours; to copy, because making one takes ten seconds."""
    from hiper.tracking.mirror import Mirror

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", "")
            client = Mirror(folder / "template").client
            client.rename_experiment(client.get_experiment_by_name("template").experiment_id, "unused")

    return made_once("mlflow", make) / "template" / "tracking" / "mlflow.db"


LONGEST = (
    *("slurm", "workflow", "deepspeed", "test_documented_environment", "outages", "test_dvc", "test_training"),
    *("test_faults", "mlflow"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Groups begin in the order of `pytest_collection_modifyitems`; pytest-xdist would count their tests."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_itemcollected(item: pytest.Item) -> None:
    """A file is a group unless it says otherwise: what its fixtures make and what stays in memory serves its tests."""
    if item.get_closest_marker("xdist_group") is None:
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(trylast=True)  # after pytest-xdist has put groups into the node ids
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups that take longest begin first: other workers do the rest."""
    if hasattr(config, "workerinput") and any("@" not in item.nodeid for item in items):
        raise pytest.UsageError("pytest-xdist does not group with this pytest: install the one in envs/constraints.txt")
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.get_closest_marker("xdist_group").args[0], len(ranks)))
