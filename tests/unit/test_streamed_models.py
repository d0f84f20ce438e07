"""A model is read one tensor after the other, in the precision that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hiper.learning import folders
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.folders import WEIGHTS, load_decoder, save_decoder
from hiper.learning.model_files import EMBEDDING, OUTPUT

SHAPE = DecoderShape(50, 16, 32, 2, 4, 2, True, 64, 10000.0, 1e-6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    decoder = Decoder(SHAPE)
    decoder.initialize(torch.Generator().manual_seed(0))
    save_decoder(decoder, tmp_path, tmp_path, 1, 0)
    return tmp_path


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16])
def test_weights_have_the_precision_that_is_asked_for(folder: Path, kept: torch.dtype, wanted: torch.dtype) -> None:
    """Whatever the files have, each is rounded once; embedding and output matrix are one parameter."""
    weights = {name: value.to(kept) for name, value in load_file(folder / WEIGHTS).items()}
    save_file(weights, folder / WEIGHTS)
    decoder = load_decoder(folder, dtype=wanted)
    found = dict(decoder.named_parameters())
    assert found.keys() == weights.keys() and decoder.lm_head.weight is decoder.model.embed_tokens.weight
    assert all(value.dtype == wanted and value.equal(weights[name].to(wanted)) for name, value in found.items())


def test_each_parameter_is_taken_before_the_next_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever keeps a part of it has one whole weight at a time."""
    happened: list[str] = []
    read = folders._Stored.__getitem__

    def recorded(stored: folders._Stored, name: str) -> torch.Tensor:
        happened.append(name)
        return read(stored, name)

    def take(parameter: nn.Parameter) -> None:
        happened.append("taken")
        parameter.data = parameter.data.new_empty(0)

    monkeypatch.setattr(folders._Stored, "__getitem__", recorded)
    decoder = load_decoder(folder, take=take)
    count = len(load_file(folder / WEIGHTS))
    assert happened[: 2 * count : 2] == [name for name in happened[: 2 * count] if name != "taken"]
    assert happened.count("taken") == count and all(not parameter.numel() for parameter in decoder.parameters())


@pytest.mark.parametrize("names", [[OUTPUT], [EMBEDDING, OUTPUT]])
def test_a_tied_matrix_may_lie_in_the_files_under_either_name(folder: Path, names: list[str]) -> None:
    """As the output matrix alone, or as both."""
    weights = load_file(folder / WEIGHTS)
    matrix = weights.pop(EMBEDDING)
    save_file(weights | {name: matrix.clone() for name in names}, folder / WEIGHTS)
    decoder = load_decoder(folder)
    assert decoder.lm_head.weight is decoder.model.embed_tokens.weight and decoder.lm_head.weight.equal(matrix)
