"""Truncated, overwritten and foreign model folders and tokenizers: loaded, or refused by name and without asking for
gigabytes of memory.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import ODD, damages, edited, many, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hiper.config import RunSettings, parse_run
from hiper.errors import UserError
from hiper.learning.folders import WEIGHTS, load_decoder, require_values, save_tensors
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.policies.usable import usable_tokenizer
from hiper.records import read_json, write_json

pytestmark = pytest.mark.usefixtures("limited_memory")


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_damaged_model(small_pipeline: Path, name: str) -> None:
    """Loaded with finite weights, or refused before memory is asked for."""
    path = small_pipeline / "warmstart" / "model" / name
    content = path.read_bytes()

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, lambda: load_decoder(path.parent))

    damaged()


@many
@given(damage=damages(), header=st.sampled_from(["shape", "dtype", "data_offsets", "name"]), data=st.data())
def test_a_damaged_header_of_weights(
    small_pipeline: Path, damage: Callable[[bytes], bytes], header: str, data: st.DataObject
) -> None:
    """The JSON at the head of a safetensors file, changed so that it stays JSON."""
    path = small_pipeline / "warmstart" / "model" / WEIGHTS
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    described = json.loads(content[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(set(described) - {"__metadata__"})))
    if header == "name":
        described[data.draw(st.text(max_size=5))] = described.pop(name)
    else:
        described[name][header] = data.draw(st.one_of(ODD, st.lists(st.integers(-1, 2**62), max_size=3)))
    text = json.dumps(described).encode()
    changed = struct.pack("<Q", len(text)) + text + content[8 + length :]
    read_or_refused(path, content, lambda _: changed, lambda: load_decoder(path.parent))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"vocab_size": 10**12}, "vocab_size = 1000000000000 must be between"),
        ({"num_hidden_layers": 16_000_000}, "num_hidden_layers = 16000000, the weights have 1"),
        ({"hidden_size": 16_000_000}, r"config.json asks for \[\d+, 16000000\]"),
        ({"hidden_size": "32"}, "`hidden_size` = '32' must be of type int"),
        ({"hidden_size": -32}, "hidden_size = -32 must be between"),
        ({"hidden_size": True}, "`hidden_size` = True must be of type int"),
        ({"num_attention_heads": 3}, "multiple of num_attention_heads"),
        ({"num_key_value_heads": 0}, "num_key_value_heads = 0"),
        ({"rope_theta": "x"}, "`rope_theta` = 'x'"),
        ({"rms_norm_eps": 2}, "rms_norm_eps = 2"),
        ({"tie_word_embeddings": "no"}, "`tie_word_embeddings` = 'no'"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ({"model_type": "invented"}, "model_type is 'invented'"),
        ({"model_type": "llama", "architectures": None}, "k_proj.bias is not part of this architecture"),
        ({"model_type": "qwen3", "architectures": None, "head_dim": 16}, "k_norm.weight is missing"),
        ({"head_dim": 10**12}, "head_dim = 1000000000000 must be between"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "the type 'yarn' needs factor"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "of the type 'longrope'; known are default"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "numbers above 0 are wanted"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "2"}}, "`factor` = '2' must be of type int or float"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "warp": 1}}, "warp = 1 is not followed"),
        ({"num_hidden_layers": 1.0}, "`num_hidden_layers` = 1.0 must be of type int"),
        ({"rms_norm_eps": "1e-6"}, "`rms_norm_eps` = '1e-6'"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "auto_map is {'AutoModelForCausalLM'"),
        (
            {"architectures": ["Qwen2Model"], "a": 1, "b": 2, "c": 3, "d": 4},
            r"architectures is \['Qwen2Model'\](.|\n)*1 more",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_senseless_config_json_is_refused(copied_pipeline: Path, changes: dict[str, Any], wanted: str) -> None:
    """Wrong types, negative, contradictory and gigantic sizes: an error with the key, and no attempt to allocate."""
    folder = copied_pipeline / "warmstart" / "model"
    edited(folder / "config.json", **changes)
    with pytest.raises(UserError, match=wanted) as caught:
        load_decoder(folder)
    assert str(folder) in str(caught.value)


def nan(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"][3] = float("nan")


def missing(weights: dict[str, torch.Tensor]) -> None:
    del weights["model.norm.weight"]


def extra(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.bias"] = torch.zeros(3)


def integers(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = torch.zeros(32, dtype=torch.int8)


def untied(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1.0


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (nan, "model.norm.weight holds NaN"),
        (missing, "model.norm.weight is missing"),
        (extra, "model.norm.bias is not part of this architecture"),
        (integers, "model.norm.weight is of type I8"),
        (untied, "tie_word_embeddings is true in config.json, but lm_head.weight differs"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    copied_pipeline: Path, change: Callable[[dict[str, torch.Tensor]], None], wanted: str
) -> None:
    """Missing, additional, quantised, contradictory and infinite tensors are named."""
    path = copied_pipeline / "warmstart" / "model" / WEIGHTS
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(UserError, match=wanted):
        load_decoder(path.parent)
    with pytest.raises(UserError, match=wanted):
        require_values(path.parent)


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/x", "..", "", "a/b.safetensors", "a\\b", "x\0y", 3])
def test_an_index_may_only_name_files_of_its_folder(copied_pipeline: Path, name: Any) -> None:
    """A path out of the folder is refused even where a sound file lies there."""
    folder = copied_pipeline / "warmstart" / "model"
    shutil.copy(folder / WEIGHTS, folder.parent / "x.safetensors")
    shutil.copy(folder / WEIGHTS, folder.parent.parent / "x.safetensors")
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": {"model.norm.weight": name}})
    with pytest.raises(UserError, match=r"index\.json: .*(no name of a file|must map)"):
        load_decoder(folder)


def test_a_missing_shard_is_named(copied_pipeline: Path) -> None:
    """Half of a sharded model; with both halves it loads."""
    folder = copied_pipeline / "warmstart" / "model"
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    shards = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(names)}
    for shard in set(shards.values()):
        save_tensors({name: weights[name] for name in names if shards[name] == shard}, folder / shard)
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": shards})
    (folder / WEIGHTS).unlink()
    load_decoder(folder)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"part-1\.safetensors: no such file"):
        load_decoder(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer(small_pipeline: Path, name: str) -> None:
    """Loaded with a chat template that renders, or refused."""
    path = small_pipeline / "warmstart" / "model" / name
    content = path.read_bytes()

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, lambda: load_tokenizer(path.parent))

    damaged()


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"eos_token": None}, "no eos_token"),
        ({"chat_template": "{% for"}, "chat template cannot be used: TemplateSyntaxError"),
        ({"chat_template": "{{ raise_exception('no user') }}"}, "chat template cannot be used: TemplateError: no user"),
        ({"chat_template": "hello"}, "does not show the user's message"),
        ({"chat_template": None}, "no chat template, .*Instruct"),
        ({"chat_template": LOOP}, "does not end"),
        ({"chat_template": "{{ 'x' * 600000000 }}{{ messages[0]['content'] }}"}, "cannot be used: MemoryError"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_tokenizer_that_cannot_end_or_ask_is_refused(
    copied_pipeline: Path, changes: dict[str, Any], wanted: str
) -> None:
    """No end token; a chat template that raises, says nothing, never ends or fills the memory: the file is named."""
    path = copied_pipeline / "warmstart" / "model" / "tokenizer_config.json"
    edited(path, **changes)
    with pytest.raises(UserError, match=rf"tokenizer_config\.json: .*{wanted}"):
        load_tokenizer(path.parent)


def test_a_tokenizer_of_a_larger_model_is_refused(copied_pipeline: Path) -> None:
    """Its last tokens would have no embedding."""
    folder = copied_pipeline / "warmstart" / "model"
    edited(folder / "config.json", vocab_size=read_json(folder / "config.json")["vocab_size"] - 1)
    with pytest.raises(UserError, match=r"tokenizer\.json: has token number \d+, .* belongs to another model"):
        load_tokenizer(folder)


def test_a_pretrained_model_must_have_room_for_prompt_and_answer(
    copied_pipeline: Path, small_settings: RunSettings
) -> None:
    """prompt.max_tokens + max_response_tokens beyond its positions is found before it is loaded."""
    folder = copied_pipeline / "warmstart" / "model"
    edited(folder / "config.json", max_position_embeddings=200)
    values = small_settings.model_dump()
    model = {"name": "mine", "path": str(folder), "scratch": None, "lora": None}
    pretrained = parse_run({**values, "model": model}, "test")
    with pytest.raises(UserError, match=r"config\.json: the model has 200 positions, .* = 648"):
        usable_tokenizer(pretrained, folder)
