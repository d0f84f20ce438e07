"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The same examples each time, however busy the machine; `pytest --hypothesis-profile=default` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real games (`data/`) and the recordings of the original code (`golden/`), or a skip."""
    folder = Path(os.environ.get("HIPER_SHARED_DATA", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no recordings at {folder}: set HIPER_SHARED_DATA to the folder that holds data/ and golden/")
    return folder


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


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database, migrated, without an experiment of ours; to copy, because making one takes ten seconds."""
    from hiper.tracking.mirror import Mirror

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "")
        folder: Path = tmp_path_factory.mktemp("mlflow") / "template"
        client = Mirror(folder).client
        client.rename_experiment(client.get_experiment_by_name("template").experiment_id, "unused")
    return folder / "tracking" / "mlflow.db"


@pytest.hookimpl(trylast=True)  # after pytest-xdist has put groups into the node ids
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Groups that one worker runs in a row (the workflow, above all) begin first: the other worker does the rest."""
    grouped = [item for item in items if item.get_closest_marker("xdist_group")]
    if hasattr(config, "workerinput") and any("@" not in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist does not group with this pytest: install the one in envs/constraints.txt")
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)
