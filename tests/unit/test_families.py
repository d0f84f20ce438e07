"""Models of other families compute what the library's classes compute: logits, gradients, answers, saved folders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damage import edited
from library_models import OTHERS, OWN, make, without_tags
from safetensors.torch import load_file, save_file
from torch.nn import ModuleDict

from hiper.config import Decoding, Lora
from hiper.errors import UserError
from hiper.learning.decoder import Decoder, Packing
from hiper.learning.folders import WEIGHTS, load_decoder, save_decoder
from hiper.learning.lora import LoraLinear, adapt, merged_weights, trainable
from hiper.learning.model_config import shape_of
from hiper.plan_execute import parse
from hiper.planning.shapes import adapter_parameters, backbone_parameters, parameters
from hiper.policies.base import Request
from hiper.policies.conformance import check_policy
from hiper.policies.local import LocalPolicy
from hiper.policies.tokenizer_files import PROBE, load_tokenizer
from hiper.records import read_json

FAMILIES = {**OWN, **OTHERS}
LENGTHS = (150, 7, 1, 90)  # beyond the original lengths of the stretched ones
REQUESTS = [Request("find a mug", ("go to desk 1", "look"), None), Request("look", ("look",), "find a mug")]
Supports = Callable[..., None]
Made = tuple[Decoder, Any, Path]


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    """A family."""
    return str(request.param)


@pytest.fixture(scope="module")
def made(name: str, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Ours, the library's, and the folder from which ours was read; every second one is in shards."""
    folder = tmp_path_factory.mktemp("family")
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


def test_logits_and_gradients_are_the_librarys(
    made: Made, sequences: list[np.ndarray], name: str, supports: Supports
) -> None:
    """Of sequences of unequal length in one row; the gradient of every parameter, by its name in the library."""
    decoder, library, _ = made
    weights = torch.linspace(-1, 1, 64)
    found, wanted = ours(decoder, sequences), theirs(library, sequences)
    assert close(found, wanted)
    for model, logits in ((decoder, found), (library, wanted)):
        model.zero_grad()
        ((logits.log_softmax(-1) @ weights).square().mean()).backward()
    gradients = {key: parameter.grad for key, parameter in decoder.named_parameters()}
    assert gradients.keys() == {key for key, _ in library.named_parameters()}
    for key, parameter in library.named_parameters():
        assert parameter.grad is not None and gradients[key] is not None
        assert close(gradients[key], parameter.grad), key
    supports(name, "loads")


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


@pytest.mark.parametrize("tags", ["single", "several"])
def test_answers_have_the_format(name: str, tags: str, tokenizer: Any, tmp_path: Path, supports: Supports) -> None:
    """Free and guided decoding keep the contract of policies; a guided answer has an admissible action, also where a
    tag is several tokens, as in the tokenizers of pretrained models."""
    if tags == "several":
        tokenizer = without_tags(tokenizer)
    family, said = FAMILIES[name]
    make(name, tmp_path, family, {**said, "vocab_size": len(tokenizer)})
    decoder = load_decoder(tmp_path)
    for mode in ("free", "guided"):
        decoding = Decoding(mode=mode, temperature=1.0, max_response_tokens=60, max_text_tokens=5)
        answers = check_policy(LocalPolicy(decoder, tokenizer, decoding, "plan_execute", 100, "cpu"), REQUESTS)
    for request, answer in zip(REQUESTS, answers, strict=True):
        parsed = parse(answer.text, answer.offsets)
        assert parsed.action in request.admissible_actions
        assert parsed.switch or parsed.subgoal == request.subgoal
    supports(name, "samples")


def test_a_saved_folder_differs_in_the_weights_alone(made: Made, tmp_path: Path) -> None:
    """Names, sizes and the configuration are the source's; the library reads it, with the logits of ours."""
    from transformers import AutoModelForCausalLM

    decoder, source = copy.deepcopy(made[0]), made[2]
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.1)
    save_decoder(decoder, tmp_path, source, eos_token_id=2, pad_token_id=0)
    assert read_json(tmp_path / "config.json") == read_json(source / "config.json") | {"dtype": "float32"}
    assert read_json(tmp_path / "generation_config.json") == read_json(source / "generation_config.json")
    tensors = {name: t.shape for path in source.glob("*.safetensors") for name, t in load_file(path).items()}
    assert {name: t.shape for name, t in load_file(tmp_path / WEIGHTS).items()} == tensors
    read = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager")
    sequence = [np.arange(3, 60)]
    with torch.no_grad():
        assert close(ours(decoder, sequence), theirs(read, sequence))


def test_adapters_and_checkpointing_change_what_they_should(
    made: Made, sequences: list[np.ndarray], name: str, supports: Supports
) -> None:
    """New adapters change nothing, and merged they are the plain weights; layers that are computed again give the same
    gradients; the first layer alone still computes."""
    decoder, _, folder = made
    adapted = load_decoder(folder)
    plain = {name: parameter.detach().clone() for name, parameter in adapted.named_parameters()}
    adapt(adapted, Lora(rank=2, alpha=4.0), [0])
    assert torch.equal(ours(adapted, sequences), ours(decoder, sequences))
    assert all(torch.equal(value, plain[name]) for name, value in merged_weights(adapted))
    gradients = []
    for checkpointing in (False, True):
        adapted.model.checkpointing = checkpointing
        adapted.zero_grad()
        counted = _Calls(adapted.model.layers[0])
        ours(adapted, sequences).square().mean().backward()
        assert (counted.stopped() > 1.5) == checkpointing  # the very last products are not needed again
        gradients.append({name: parameter.grad for name, parameter in trainable(adapted)})
    assert gradients[0] and all(close(gradients[1][name], gradient) for name, gradient in gradients[0].items())
    adapted.model.keep_first(1)
    assert len(adapted.model.layers) == adapted.model.shape.num_hidden_layers == 1
    hidden, _ = adapted.model.hidden(Packing.of(sequences, [[0]] * len(sequences)))
    assert hidden.shape == (len(sequences), adapted.shape.hidden_size) and hidden.isfinite().all()
    supports(name, "LoRA")


class _Calls:
    """How often a layer's linear modules are computed, per module."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self.modules = [module for module in layer.modules() if isinstance(module, LoraLinear)]
        self.calls = 0
        self.hooks = [module.register_forward_hook(self._count) for module in self.modules]

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def stopped(self) -> float:
        for hook in self.hooks:
            hook.remove()
        return self.calls / len(self.modules)


def test_parameters_are_counted_as_they_are(made: Made) -> None:
    """Of the whole model, its body, and adapters on its linear modules."""
    decoder, library, _ = made
    assert parameters(decoder.shape) == sum(p.numel() for p in library.parameters())
    assert backbone_parameters(decoder.shape) == sum(p.numel() for p in decoder.model.parameters())
    sides = [sum(m.weight.shape) for m in decoder.model.layers.modules() if isinstance(m, torch.nn.Linear)]
    assert adapter_parameters(decoder.shape, 3) == 3 * sum(sides)


def test_bfloat16_weights_leave_rotary_embeddings_alone(tmp_path: Path) -> None:
    """The library's frequencies are buffers, which a sampler's copy would round with the weights."""
    make("phi", tmp_path, *OTHERS["phi"])
    model = copy.deepcopy(load_decoder(tmp_path)).to("cpu", torch.bfloat16)
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    ModuleDict({"backbone": model.model}).to(torch.float16)
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"model_type": "t5"}, "have an encoder and a decoder"),
        ({"model_type": "gemma3", "text_config": {"hidden_size": 16}}, "read images or sound"),
        ({"model_type": "mamba"}, "takes no attention from outside|is no plain decoder"),
        ({"model_type": "bert"}, "in both directions"),
        ({"model_type": "phi", "quantization_config": {"bits": 4}}, "quantised models cannot be trained"),
        ({"model_type": "phi", "hidden_size": "x"}, "transformers cannot read it"),
        ({"model_type": "phi", "num_hidden_layers": 10**9}, "sizes that no model has"),
        ({"model_type": ["phi"]}, "model_type is"),
    ],
    ids=str,
)
def test_what_is_no_causal_language_model_of_text_is_refused(said: dict[str, Any], reason: str) -> None:
    """In one line, by the file's name."""
    with pytest.raises(UserError, match=reason) as caught:
        shape_of(said, Path("folder/config.json"))
    assert str(caught.value).startswith("folder/config.json: ") and "\n" not in str(caught.value)


def test_a_class_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one whose attention adds what nobody here knows of."""
    from transformers.models.phi import modeling_phi

    make("phi", tmp_path, *OTHERS["phi"])
    plain = modeling_phi.eager_attention_forward

    def other(*arguments: Any, **options: Any) -> Any:
        attended, weights = plain(*arguments, **options)
        return attended * 1.1, weights

    monkeypatch.setattr(modeling_phi, "eager_attention_forward", other)
    with pytest.raises(UserError, match=r"config\.json: PhiForCausalLM computes something else when texts are packed"):
        load_decoder(tmp_path)


def test_tied_weights_that_differ_are_refused(tmp_path: Path) -> None:
    """As in a folder that somebody changed by hand; the same twice is no matter."""
    make("gemma2", tmp_path, *OTHERS["gemma2"])
    tensors = load_file(tmp_path / WEIGHTS)
    output = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | {"lm_head.weight": output}, tmp_path / WEIGHTS, {"format": "pt"})
    load_decoder(tmp_path)
    save_file(tensors | {"lm_head.weight": output + 1}, tmp_path / WEIGHTS, {"format": "pt"})
    with pytest.raises(UserError, match=r"differs from .*, with which config\.json ties it"):
        load_decoder(tmp_path)


@pytest.mark.parametrize("spaces", ["prepended", "metaspace"])
def test_a_tokenizer_of_sentencepiece_keeps_spaces_and_lines(copied_pipeline: Path, spaces: str) -> None:
    """As those of Llama 2 and Mistral, which put a space before a text: no piece of an answer gains or loses one."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    folder = copied_pipeline / "warmstart" / "model"
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    if spaces == "prepended":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        first = [decoders.Replace("▁", " ")]
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        first = [decoders.Metaspace(prepend_scheme="first")]
    made.decoder = decoders.Sequence([*first, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special)
    made.train_from_iterator([PROBE, "go to desk 1", "look"] * 3, trainer)
    made.save(str(folder / "tokenizer.json"))
    edited(
        folder / "tokenizer_config.json", eos_token="</s>", pad_token="</s>", bos_token="<s>", extra_special_tokens={}
    )
    edited(folder / "generation_config.json", eos_token_id=2)
    tokenizer = load_tokenizer(folder)
    for text in (PROBE, "look", "  two  spaces ", "<subgoal>\n go to desk 1</subgoal> é 中"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        if text.isascii():
            assert "".join(tokenizer.decode([one]) for one in ids) == text


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("Phimoe", {"num_local_experts": 2}),
        ("Qwen2Moe", {"num_experts": 2, "num_experts_per_tok": 2, "use_sliding_window": True}),
    ],
)
def test_a_window_that_a_class_keeps_to_itself_is_refused(tmp_path: Path, family: str, said: dict[str, Any]) -> None:
    """It lies in the mask alone, which packed rows do not have: longer texts would be read without it."""
    make(family.lower(), tmp_path, family, {**said, "sliding_window": 16, "moe_intermediate_size": 16})
    with pytest.raises(UserError, match="keeps its sliding window to itself"):
        load_decoder(tmp_path)
