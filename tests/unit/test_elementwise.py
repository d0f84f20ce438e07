"""The parts of a layer that torch's compiler makes kernels of: the same numbers, for rows of any length."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import library_models
import numpy as np
import pytest
import torch
from pipeline import run_settings
from torch import Tensor

from hiper.config import Lora
from hiper.errors import UserError
from hiper.learning import elementwise
from hiper.learning.decoder import Decoder, Packing
from hiper.learning.folders import load_decoder
from hiper.learning.lora import adapt
from hiper.learning.torch_setup import prepare

FAMILIES = ("llama-biases", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where the compiler keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("kernels")))
        yield
    elementwise.compute_eagerly()


def made(name: str, folder: Path, adapted: bool = False) -> Decoder:
    if not folder.exists():
        library_models.make(name, folder, *library_models.OWN[name])
    model = load_decoder(folder)
    if adapted:
        adapt(model, Lora(rank=2, alpha=4.0), [1])
    model.model.checkpointing = True
    return model


def rows(seed: int, *lengths: int) -> Packing:
    """Sequences of these lengths, each with its first and last token wanted."""
    random = np.random.default_rng(seed)
    return Packing.of([random.integers(0, 60, n) for n in lengths], [sorted({0, n - 1}) for n in lengths])


def learned(model: Decoder, packings: Sequence[Packing]) -> list[Tensor]:
    """Of each packing the hidden states, and at the end the gradients of all together."""
    found = []
    for packing in packings:
        hidden, _ = model.model.hidden(packing)
        (hidden.float() * torch.linspace(-1.0, 1.0, hidden.numel()).view_as(hidden)).sum().backward()
        found.append(hidden.float().detach())
    return found + [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def require_close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    """Relative to the largest number of each tensor."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def compiled_graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize(("name", "adapted"), [*((name, False) for name in FAMILIES), ("qwen3", True)])
def test_kernels_compute_what_torch_does(kernels: None, tmp_path: Path, name: str, adapted: bool) -> None:
    """Hidden states and every gradient, of all weights or of adapters, with activations computed again, within
    float32's rounding; batches of other lengths need no other kernels."""
    folder = tmp_path / "model"
    packings = [rows(0, 5, 17, 1, 30), rows(1, 40), *(rows(seed, seed, 2 * seed) for seed in range(2, 12))]
    expected = learned(made(name, folder, adapted), packings)
    elementwise.compile_functions("cpu", repeatable=True)
    first = learned(made(name, folder, adapted), packings[:2])
    seen = compiled_graphs()
    found = learned(made(name, folder, adapted), packings)
    assert seen > 0 and compiled_graphs() == seen
    require_close(found, expected, 2e-5)
    require_close(first[:2], expected[:2], 2e-5)


def test_kernels_compute_in_the_precision_of_autocast(kernels: None, tmp_path: Path) -> None:
    """As the engine `local` trains on a GPU."""
    packings, found = [rows(0, 5, 17, 1, 30), rows(1, 40)], []
    for compiles in (False, True):
        if compiles:
            elementwise.compile_functions("cpu", repeatable=True)
        else:
            elementwise.compute_eagerly()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(learned(made("qwen3", tmp_path / "model"), packings))
    require_close(found[1], found[0], 0.05)


def test_a_sampler_goes_on_with_the_same_numbers(kernels: None, tmp_path: Path) -> None:
    """Reading prompts into a cache, then one token after the other; without gradients, as samplers do."""
    found = []
    for compiles in (False, True):
        if compiles:
            elementwise.compile_functions("cpu", repeatable=True)
        else:
            elementwise.compute_eagerly()
        model = made("qwen3", tmp_path / "model")
        with torch.inference_mode():
            hidden, cache = model.model.hidden(rows(0, 9, 17), cache_room=4)
            assert cache is not None
            found.append([hidden, *(model.model.extend([[7], [8, 9]], cache)[0] for _ in range(2)), *cache.keys])
    require_close(found[1], found[0], 2e-5)


def test_it_is_for_gpus_unless_the_settings_say_otherwise() -> None:
    """`auto` compiles on GPUs alone; results of CPUs keep their bytes."""

    def compiles(device: str, value: object) -> bool:
        return run_settings(engine__device=device, engine__compile=value).engine.compiles

    assert [compiles(device, "auto") for device in ("cpu", "cuda")] == [False, True]
    assert [compiles("cpu", value) for value in (True, False)] == [True, False]
    assert [compiles("cuda", value) for value in (True, False)] == [True, False]
    with pytest.raises(UserError, match=r"engine.compile.*must be 'auto', true or false"):
        compiles("cpu", "yes")
    elementwise.compute_eagerly()
    prepare(run_settings().engine)
    assert not elementwise._compiled


def test_without_a_compiler_the_setting_is_refused_in_words(tmp_path: Path) -> None:
    """Before anything is computed, with the way out."""
    code = "from hiper.learning.torch_setup import prepare_process; prepare_process('cpu', 1, compiles=True)"
    environment = {**os.environ, "CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert done.returncode and "UserError: engine.compile: torch cannot compile on this machine" in said
    assert "apt install g++ python3-dev" in said and "engine.compile to false" in said
