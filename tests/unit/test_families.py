"""Models of other families compute what the library's classes compute: logits, gradients, answers, saved folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from library_models import OTHERS, OWN, make
from safetensors.torch import load_file

from hiper.learning.decoder import Decoder, Packing
from hiper.learning.folders import WEIGHTS, load_decoder, save_decoder
from hiper.planning.shapes import adapter_parameters, backbone_parameters, parameters
from hiper.records import read_json

FAMILIES = {**OWN, **OTHERS}
LENGTHS = (150, 7, 1, 90)  # beyond the original lengths of the stretched ones
Made = tuple[Decoder, Any, Path]


@pytest.fixture(scope="module", params=FAMILIES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Ours, the library's, and the folder from which ours was read; every second one is in shards."""
    folder = tmp_path_factory.mktemp("family")
    name = request.param
    library = make(name, folder, *FAMILIES[name], shards=1 + [*FAMILIES].index(name) % 2)
    return load_decoder(folder), library, folder


@pytest.fixture(scope="module")
def sequences() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(3, 64, size) for size in LENGTHS]


def ours(decoder: Decoder, sequences: list[np.ndarray]) -> torch.Tensor:
    hidden, _ = decoder.model.hidden(Packing.of(sequences, [np.arange(len(s)) for s in sequences]))
    return decoder.logits(hidden)


def theirs(library: Any, sequences: list[np.ndarray]) -> torch.Tensor:
    return torch.cat([library(input_ids=torch.as_tensor(s)[None]).logits[0].float() for s in sequences])


def close(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    return torch.allclose(found, wanted, atol=1e-4 * float(wanted.detach().abs().max()))


def test_logits_and_gradients_are_the_librarys(made: Made, sequences: list[np.ndarray]) -> None:
    """Of sequences of unequal length in one row; the gradient of every parameter, by its name in the library."""
    decoder, library, _ = made
    weights = torch.linspace(-1, 1, 64)
    found, wanted = ours(decoder, sequences), theirs(library, sequences)
    assert close(found, wanted)
    for model, logits in ((decoder, found), (library, wanted)):
        model.zero_grad()
        ((logits.log_softmax(-1) @ weights).square().mean()).backward()
    gradients = {name: parameter.grad for name, parameter in decoder.named_parameters()}
    assert gradients.keys() == {name for name, _ in library.named_parameters()}
    for name, parameter in library.named_parameters():
        assert parameter.grad is not None and gradients[name] is not None
        assert close(gradients[name], parameter.grad), name


def test_answers_are_the_librarys(made: Made, sequences: list[np.ndarray]) -> None:
    """Greedy, with a cache, the short ones beside the long; rows that change places on the way."""
    decoder, library, _ = made
    with torch.inference_mode():
        hidden, cache = decoder.model.hidden(Packing.of(sequences, [[len(s) - 1] for s in sequences]), cache_room=8)
        assert cache is not None
        answers: list[list[int]] = [[] for _ in sequences]
        rows = [*range(len(sequences))]
        for step in range(8):
            if step == 4:
                hidden, rows = hidden[[3, 1, 2]], [3, 1, 2]
                cache = cache.select([3, 1, 2])
            tokens = decoder.logits(hidden).argmax(-1).tolist()
            for row, token in zip(rows, tokens, strict=True):
                answers[row].append(token)
            hidden, _ = decoder.model.extend([[token] for token in tokens], cache)
    with torch.inference_mode():
        for sequence, answer in zip(sequences, answers, strict=True):
            whole = torch.as_tensor(np.concatenate([sequence, answer[:-1]]))
            logits = library(input_ids=whole[None]).logits[0, len(sequence) - 1 :].float()
            assert close(logits.gather(1, torch.as_tensor(answer)[:, None])[:, 0], logits.amax(-1))


def test_a_saved_folder_differs_in_the_weights_alone(made: Made, tmp_path: Path) -> None:
    """Names, sizes and the configuration are the source's; the library reads it, with the logits of ours."""
    from transformers import AutoModelForCausalLM

    decoder, _, source = made
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.1)
    save_decoder(decoder, tmp_path, source, eos_token_id=2, pad_token_id=0)
    assert read_json(tmp_path / "config.json") == read_json(source / "config.json") | {"dtype": "float32"}
    assert read_json(tmp_path / "generation_config.json") == read_json(source / "generation_config.json")
    tensors = {name: t.shape for path in source.glob("*.safetensors") for name, t in load_file(path).items()}
    assert {name: t.shape for name, t in load_file(tmp_path / WEIGHTS).items()} == tensors
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    sequence = [np.arange(3, 60)]
    with torch.no_grad():
        assert close(ours(decoder, sequence), theirs(read, sequence))
        for parameter in decoder.parameters():
            parameter.div_(1.1)


def test_parameters_are_counted_as_they_are(made: Made) -> None:
    """Of the whole model, its body, and adapters on its linear modules."""
    decoder, library, _ = made
    assert parameters(decoder.shape) == sum(p.numel() for p in library.parameters())
    assert backbone_parameters(decoder.shape) == sum(p.numel() for p in decoder.model.parameters())
    sides = [sum(m.weight.shape) for m in decoder.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert adapter_parameters(decoder.shape, 3) == 3 * sum(sides)
