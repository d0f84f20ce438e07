"""Weights that the sampler did not take, or took for others, are found by their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from library_models import OTHERS, make
from torch import Tensor, nn

from hiper.errors import UserError
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.folders import save_decoder
from hiper.policies.vllm_engine import VllmEngine, Wanted, compared_by
from hiper.policies.weight_sums import Comparison, Handover, Sums

SHAPE = DecoderShape(30, 16, 24, 2, 4, 2, True, 64, 1e4, 1e-6)
MERGED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
Load = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class Sampler(nn.Module):
    """A model with merged modules and a padded vocabulary, in bfloat16, as vLLM makes one: dummy weights until it is
    given others."""

    packed_modules_mapping = MERGED

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, weight in weights.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in dict(module.named_children()):
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(last, nn.Parameter(torch.full_like(weight, 1e-3, dtype=torch.bfloat16)))

    def load(self, weights: dict[str, Tensor]) -> None:
        for name, weight in weights.items():
            self.get_parameter(name).data.copy_(weight)


def merged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the sampler's names; the vocabulary is padded with zeros."""
    left, made = dict(weights), {}
    for name in weights:
        for whole, parts in MERGED.items():
            if f".{parts[0]}." in name:
                names = [name.replace(parts[0], part) for part in parts]
                made[name.replace(parts[0], whole)] = torch.cat([left.pop(one) for one in names])
    embedding = left.pop("model.embed_tokens.weight")
    padded = torch.cat([embedding, torch.zeros(34, embedding.shape[1])])
    return made | left | {"model.embed_tokens.weight": padded}


def sent() -> dict[str, Tensor]:
    decoder = Decoder(SHAPE)
    decoder.initialize(torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(1)
    return {
        name: p.detach() + 0.1 * torch.randn(p.shape, generator=random)
        for name, p in decoder.named_parameters()
        if name != "lm_head.weight"
    }


def problems(load: Load, weights: dict[str, Tensor] | None = None, by: Comparison = "numbers") -> list[str]:
    """Of a sampler that takes what `load` makes of the merged weights."""
    handover, sampler = Handover(torch.bfloat16, by), Sampler(merged(sent()))
    dict(handover.noting((sent() if weights is None else weights).items()))
    sampler.load(load(merged(sent())))
    return handover.problems(sampler)


@pytest.mark.parametrize("by", ["numbers", "names", "vectors"])
def test_weights_that_arrived_are_right(by: Comparison) -> None:
    """Merged, rounded to bfloat16, and with a padded vocabulary."""
    assert problems(lambda weights: weights, by=by) == []


def test_a_weight_without_a_place_is_found_without_its_numbers() -> None:
    """A sampler lacks a bias that the trainer has; of vectors alone it is found, too."""
    more = sent() | {"model.layers.0.self_attn.o_proj.bias": torch.ones(16)}
    assert problems(lambda loaded: loaded, more, "names") == [
        "model.layers.0.self_attn.o_proj.bias: was sent and has no place"
    ]
    (lost,) = problems(lambda loaded: loaded, more, "vectors")
    assert "numbers of biases and norms were sent, and its model has" in lost


def test_a_weight_that_was_not_loaded_is_named() -> None:
    """It still has its dummy numbers; one of three that are merged is enough."""
    name = "model.layers.1.mlp.down_proj.weight"
    assert problems(lambda weights: {key: one for key, one in weights.items() if key != name}) == [
        f"{name}: holds other numbers than were sent for it"
    ]
    name = "model.layers.0.self_attn.qkv_proj.weight"

    def partly(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights | {name: torch.cat([weights[name][:16], torch.full((16, 16), 1e-3)])}

    assert problems(partly) == [f"{name}: holds other numbers than were sent for it"]


def test_two_that_changed_places_are_named() -> None:
    """Of two layers."""
    names = [f"model.layers.{number}.post_attention_layernorm.weight" for number in (0, 1)]

    def changed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights | {names[0]: weights[names[1]], names[1]: weights[names[0]]}

    assert problems(changed) == [f"{name}: holds other numbers than were sent for it" for name in names]


def test_what_was_not_sent_or_has_no_place_is_named() -> None:
    """Either way the names of both programs do not fit together."""
    weights = sent()
    weights["model.layers.0.self_attn.new"] = weights.pop("model.layers.0.self_attn.k_proj.bias")
    assert problems(lambda loaded: loaded, weights) == [
        "model.layers.0.self_attn.qkv_proj.bias: nothing was sent for model.layers.0.self_attn.k_proj.bias",
        "model.layers.0.self_attn.new: was sent and has no place",
    ]


def test_sums_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1, −2, 3 and 4 in pieces of three: 6 and 30; zeros may be added, another sign is found."""
    monkeypatch.setattr("hiper.policies.weight_sums.AT_ONCE", 3)
    found = Sums.of(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.float32)
    assert found == Sums(4, 6.0, 30.0) and found + found == Sums(8, 12.0, 60.0)
    assert found.become(Sums(6, 6.0, 30.0)) and not found.become(Sums(4, 10.0, 30.0))
    assert not found.become(Sums(3, 6.0, 30.0)) and not found.become(Sums(4, 6.0, 31.0))


class FakeLlm:
    """What the engine asks of vLLM in an update."""

    def __init__(self, load: Load) -> None:
        self.sampler, self.load, self.compared = Sampler(merged(sent())), load, 0
        self.model_config: Any = type("", (), {"hf_config": type("", (), {"tie_word_embeddings": False})})

    def collective_rpc(self, name: str, kwargs: dict[str, Iterable[tuple[str, Tensor]]]) -> None:
        assert name == "reload_weights"
        self.sampler.load(self.load(merged(dict(kwargs["weights_iterator"]))))

    def apply_model(self, work: Callable[[nn.Module], Any]) -> list[Any]:
        self.compared += 1
        return [work(self.sampler)]

    def reset_prefix_cache(self) -> bool:
        return True


def engine(load: Load) -> tuple[VllmEngine, FakeLlm]:
    made, llm = VllmEngine.__new__(VllmEngine), FakeLlm(load)
    made.llm, made.unchecked, made.dtype = llm, "numbers", torch.bfloat16
    return made, llm


def test_the_first_update_is_compared_and_later_ones_are_not() -> None:
    """Once is enough to see that both programs understand each other."""
    made, llm = engine(lambda weights: weights)
    for _ in range(2):
        made.update(sent().items())
    assert llm.compared == 1


def test_a_first_update_that_does_not_arrive_ends_the_run() -> None:
    """The message names a few weights, how many more there are, and what to do."""
    made, _ = engine(lambda _: {})
    with pytest.raises(UserError, match=r"did not take .*holds other numbers.*and \d+ more.*envs/gpu\.txt"):
        made.update(sent().items())


def test_models_are_compared_as_far_as_both_programs_agree(tmp_path: Path) -> None:
    """By names and numbers a decoder of our own on a GPU; the CPU's weights have other forms, and a model that the
    library computes other names."""
    decoder = Decoder(SHAPE)
    decoder.initialize(torch.Generator().manual_seed(0))
    save_decoder(decoder, tmp_path / "own", tmp_path, 0, 0)
    make("gemma2", tmp_path / "other", *OTHERS["gemma2"])
    on_gpu, on_cpu = Wanted("cuda", "bfloat16", 10, False, 1, 0.2), Wanted("cpu", "float32", 10, False, 1)
    assert compared_by(tmp_path / "own", on_gpu) == "numbers"
    assert compared_by(tmp_path / "own", on_cpu) == "names"
    assert compared_by(tmp_path / "other", on_gpu) == compared_by(tmp_path / "other", on_cpu) == "vectors"
