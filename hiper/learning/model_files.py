"""Checks of a model folder's files before anything is allocated: `config.json`, the index of shards, tensor headers.

A folder may come from anywhere: every number is a claim until the headers of the weight files agree with it, and every
file name in an index is refused unless it names a file of the folder itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from hiper.errors import UserError
from hiper.learning.pretrained import ADAPTERS
from hiper.learning.qwen2 import Decoder, DecoderShape
from hiper.records import read_json, require

CONFIG, GENERATION = "config.json", "generation_config.json"
EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
BUFFER = ".rotary_emb.inv_freq"  # how a tensor is called that old files hold and that follows from config.json
TYPES = ("F64", "F32", "F16", "BF16")  # what becomes float32 without a quantisation scheme of its own
LARGEST = 1 << 24  # no size of a language model comes near it; larger ones would overflow products
SHOWN = 4

_COUNTS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)
_LAYER = re.compile(r"model\.layers\.([0-9]{1,6})\.")


# What a config.json may hold beside the sizes. Every other key is refused unless it says that nothing is there.
_WITHOUT_EFFECT = frozenset(
    (
        "transformers_version",
        "dtype",
        "torch_dtype",
        "initializer_range",
        "use_cache",
        "gradient_checkpointing",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "tokenizer_class",
        "_name_or_path",
        "name_or_path",
        "_commit_hash",
        "_attn_implementation",
        "attn_implementation",
        "_attn_implementation_autoset",
        "output_hidden_states",
        "output_attentions",
        "return_dict",
        "use_return_dict",
        "torchscript",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "task_specific_params",
        "finetuning_task",
        "prefix",
        "unsloth_fixed",
        "unsloth_version",
        # without `use_sliding_window`, which is refused
        "sliding_window",
        "max_window_layers",
        # of the library's `generate`: here the sampler draws from the distribution that is trained
        "do_sample",
        "temperature",
        "top_k",
        "top_p",
        "typical_p",
        "repetition_penalty",
        "length_penalty",
        "max_length",
        "min_length",
        "max_new_tokens",
        "num_beams",
        "num_beam_groups",
        "diversity_penalty",
        "early_stopping",
        "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size",
        "bad_words_ids",
        "num_return_sequences",
        "output_scores",
        "return_dict_in_generate",
        "remove_invalid_values",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "suppress_tokens",
        "begin_suppress_tokens",
        "exponential_decay_length_penalty",
    )
)
_NEUTRAL: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_act": "silu",
    "attention_dropout": 0,
    "attention_bias": True,
    "qkv_bias": True,
    "is_causal": True,
    "partial_rotary_factor": 1,
    "pretraining_tp": 1,
    "chunk_size_feed_forward": 0,
}
_ABSENT: tuple[Any, ...] = (False, [], {})
_ROPE = ("rope_scaling", "rope_parameters")


def shape_of(config: Any, source: Path) -> DecoderShape:
    """Sizes from a Qwen2 `config.json`; UserError for another architecture, a key that the decoder does not follow, or
    sizes that no model can have."""
    config = require(config, {}, str(source))
    if config.get("model_type") != "qwen2":
        raise UserError(f"{source}: model_type is {config.get('model_type')!r}; this decoder reads 'qwen2' models only")
    theta = _rope_theta(config, source)
    require(config, dict.fromkeys(_COUNTS, int) | {"rms_norm_eps": (int, float)}, str(source))
    tied = config.get("tie_word_embeddings", False)
    require({"rope_theta": theta, "tie_word_embeddings": tied}, _OPTIONAL, str(source))
    shape = DecoderShape(
        **{name: config[name] for name in _COUNTS},
        rope_theta=float(theta),
        rms_norm_eps=config["rms_norm_eps"],
        tie_word_embeddings=tied,
    )
    if problem := _impossible(shape):
        raise UserError(f"{source}: {problem}; the file is damaged, fetch or make the model folder again")
    _require_understood(config, shape, source)
    return shape


_OPTIONAL: dict[str, type | tuple[type, ...]] = {"rope_theta": (int, float), "tie_word_embeddings": bool}


def _rope_theta(config: dict[str, Any], source: Path) -> Any:
    """The base of plain rotary embeddings, which stands beside the sizes or in an object of its own; UserError for all
    others."""
    found = {key: require(config[key], {}, f"{source}, {key}") for key in _ROPE if config.get(key)}
    plain = {"type": "default", "rope_type": "default", "partial_rotary_factor": 1}
    for key, rope in found.items():
        if any(value != plain.get(name) for name, value in rope.items() if name != "rope_theta"):
            raise UserError(
                f"{source}: {key} is {_shown(rope)}; scaled rotary embeddings are not supported, choose a model without"
            )
    thetas = [place["rope_theta"] for place in (config, *found.values()) if place.get("rope_theta") is not None]
    if any(theta != thetas[0] for theta in thetas) or len(found) > 1:
        raise UserError(
            f"{source}: the rotary embeddings are described twice, in {' and '.join(found)} and beside the sizes; keep "
            "one `rope_theta` in a copy of the folder"
        )
    return thetas[0] if thetas else 10000.0


def _require_understood(config: dict[str, Any], shape: DecoderShape, source: Path) -> None:
    """UserError names the keys that may change what a model computes and are not followed here."""
    neutral = _NEUTRAL | {
        "head_dim": shape.head_size,
        "layer_types": ["full_attention"] * shape.num_hidden_layers,
    }
    followed = {*_COUNTS, *_ROPE, *_OPTIONAL, "rms_norm_eps", *_WITHOUT_EFFECT}
    said = {key: value for key, value in config.items() if key not in followed and value is not None}
    refused = [
        key for key, value in said.items() if (value != neutral[key] if key in neutral else value not in _ABSENT)
    ]
    if refused:
        only = {key: f"; only {neutral[key]!r} is supported" for key in refused if key in neutral}
        listing = "".join(f"\n  {key} is {_shown(config[key])}{only.get(key, '')}" for key in refused[:SHOWN])
        more = f"\n  … and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise UserError(
            f"{source}: keys that this decoder, a plain Qwen2ForCausalLM, does not follow:{listing}{more}\n"
            "choose another model, or remove the keys in a copy of the folder if they do not change what it computes"
        )


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"


def end_tokens(folder: Path) -> tuple[int, ...]:
    """The tokens that end an answer by the folder's generation_config.json or, without it, its config.json; none where
    neither says. What else stands there is for the library's `generate`: here the distribution that is trained is also
    the one that is drawn from."""
    path = folder / GENERATION if (folder / GENERATION).exists() else folder / CONFIG
    if not path.exists():
        return ()
    content = require(read_json(path), {}, str(path))
    if content.get("stop_strings"):
        raise UserError(f"{path}: `stop_strings` are not supported: answers end with a token; remove the key in a copy")
    named = content.get("eos_token_id")
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise UserError(f"{path}: `eos_token_id` = {_shown(named)} must be the number of a token, or a list of them")
    return tuple(dict.fromkeys(ids))


def _impossible(shape: DecoderShape) -> str | None:
    """What contradicts itself in the sizes; None for a possible model."""
    for name in _COUNTS:
        if not 1 <= getattr(shape, name) <= LARGEST:
            return f"{name} = {getattr(shape, name)} must be between 1 and {LARGEST}"
    if not 1.0 <= shape.rope_theta <= 1e12:
        return f"rope_theta = {shape.rope_theta} must be between 1 and 1e12"
    if not (math.isfinite(shape.rms_norm_eps) and 0.0 < shape.rms_norm_eps < 1.0):
        return f"rms_norm_eps = {shape.rms_norm_eps} must be between 0 and 1"
    if shape.hidden_size % shape.num_attention_heads or shape.head_size % 2:
        return f"hidden_size = {shape.hidden_size} must be an even multiple of num_attention_heads"
    if shape.num_attention_heads % shape.num_key_value_heads:
        return "num_attention_heads must be a multiple of num_key_value_heads"
    return None


def weight_files(folder: Path, name: str) -> list[Path]:
    """The files with the weights: `name`, or those that `<name>.index.json` lists; UserError where one is missing, or
    where other tools would take other weights."""
    index = folder / f"{name}.index.json"
    if (folder / ADAPTERS).exists():
        raise UserError(
            f"{folder / ADAPTERS}: adapters lie beside the weights and would not be read; merge them into the model "
            "(merge_and_unload) and name the folder of that, or use a copy of the folder without them"
        )
    if not index.exists():
        if not (folder / name).exists() and list(folder.glob("*.bin")):
            raise UserError(
                f"{folder}: its weights are pickles (*.bin), which can run code when they are read; fetch the model in "
                "the safetensors format"
            )
        return [_present(folder / name)]
    listed = require(read_json(index), {"weight_map": dict}, str(index))["weight_map"]
    names = set(listed.values()) if all(isinstance(value, str) for value in listed.values()) else set()
    if not names:
        raise UserError(f"{index}: `weight_map` must map tensor names to file names")
    for found in sorted(names):
        if found in ("", ".", "..") or "/" in found or "\\" in found or not found.isprintable():
            raise UserError(f"{index}: {found[:60]!r} is no name of a file in this folder; the index is refused")
    if name not in names and (folder / name).exists():
        raise UserError(f"{folder}: has {name} and the weights that {index.name} lists; keep one of them in a copy")
    return [_present(folder / found) for found in sorted(names)]


def _present(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file; the model folder is incomplete, fetch or make it again")
    return path


def require_fit(shape: DecoderShape, files: Sequence[Path], folder: Path) -> None:
    """UserError unless the headers of `files` hold the tensors of a decoder of this shape, and no others."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        found |= {name: size for name, size in _header(path).items() if not name.endswith(BUFFER)}
    layers = {int(match[1]) for name in found if (match := _LAYER.match(name))}
    if found and not layers:
        raise UserError(
            f"{folder}: no tensor is called model.layers.…, the first is {min(found)!r}; these are adapters, a model "
            "without its output layer, or weights under a prefix: save the model whole, as Qwen2ForCausalLM"
        )
    if len(layers) != shape.num_hidden_layers:
        raise UserError(
            f"{folder}: config.json has num_hidden_layers = {shape.num_hidden_layers}, the weights have {len(layers)}"
        )
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in Decoder(shape).state_dict().items()}
    if shape.tie_word_embeddings and EMBEDDING in found:
        found.setdefault(OUTPUT, found[EMBEDDING])
    untied = {OUTPUT: " (tie_word_embeddings is not true in config.json)"}
    problems = [f"{name} is missing{untied.get(name, '')}" for name in wanted.keys() - found.keys()]
    problems += [f"{name} is not part of this architecture" for name in found.keys() - wanted.keys()]
    problems += [
        f"{name} has the shape {list(found[name])}, config.json asks for {list(wanted[name])}"
        for name in wanted.keys() & found.keys()
        if found[name] != wanted[name]
    ]
    if problems:
        more = f"\n  … and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        listing = "".join(f"\n  {problem}" for problem in sorted(problems)[:SHOWN])
        raise UserError(f"{folder}: the weights do not fit config.json:{listing}{more}")


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor in a safetensors file, without reading the tensors."""
    try:
        with safe_open(path, framework="pt") as stream:
            slices = {name: stream.get_slice(name) for name in stream.keys()}  # noqa: SIM118  it is no mapping
            types = {name: str(part.get_dtype()) for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as safetensors ({error}); fetch or make the model folder again"
        ) from None
    for name, kind in types.items():
        if kind not in TYPES:
            raise UserError(f"{path}: {name} is of type {kind}; only {', '.join(TYPES)} are read, not quantised models")
    return shapes
