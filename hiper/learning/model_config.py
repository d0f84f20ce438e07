"""What a model folder's `config.json` says: the sizes of a decoder that is computed as the file's author meant, or an
error that names what is not followed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.learning.decoder import DecoderShape
from hiper.learning.library_model import LibraryShape, library_shape
from hiper.learning.rotary import Linear, Llama3, Scaling, Yarn, yarn_attention
from hiper.records import require

LARGEST = 1 << 24  # no size of a language model comes near it; larger ones would overflow products
SHOWN = 4
MISTRAL_WINDOW = 4096

SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
)

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
        "is_llama_config",
        "transformers.js_config",
        # see `_windowed`
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
    "hidden_act": "silu",
    "attention_dropout": 0,
    "attention_bias": False,
    "mlp_bias": False,
    "is_causal": True,
    "partial_rotary_factor": 1,
    "pretraining_tp": 1,
    "chunk_size_feed_forward": 0,
}
_ABSENT: tuple[Any, ...] = (False, [], {})
_ROPE = ("rope_scaling", "rope_parameters")


@dataclass(frozen=True)
class Family:
    """Models of one class of `transformers`. `layout`: fields of the shape that are so in all of them; `chosen`: keys
    that their files may say of it; `neutral`: what other keys may say besides."""

    architecture: str
    layout: Mapping[str, Any]
    chosen: tuple[str, ...] = ()
    neutral: Mapping[str, Any] = field(default_factory=dict)


FAMILIES: Mapping[str, Family] = {
    "llama": Family("LlamaForCausalLM", {}, ("attention_bias", "mlp_bias")),
    "mistral": Family("MistralForCausalLM", {}),
    "qwen2": Family("Qwen2ForCausalLM", {"qkv_bias": True}, (), {"attention_bias": True, "qkv_bias": True}),
    "qwen3": Family("Qwen3ForCausalLM", {"qk_norm": True, "head_dim": 128}, ("attention_bias",)),
}


def shape_of(config: Any, source: Path) -> DecoderShape | LibraryShape:
    """The decoder that a `config.json` describes, or the library's class for one that ours does not compute; UserError
    for an architecture that is none, a key that is not followed, or sizes that no model can have."""
    config = require(config, {}, str(source))
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or _windowed(config):
        return library_shape(config, source)
    if config["model_type"] == "llama" and config.get("num_key_value_heads") is None:
        config = config | {"num_key_value_heads": config.get("num_attention_heads")}  # files older than grouped queries
    theta, rope = _rope(config, source)
    require(config, dict.fromkeys(SIZES, int) | {"rms_norm_eps": (int, float)}, str(source))
    shape = DecoderShape(
        **{name: config[name] for name in SIZES},
        rope_theta=float(theta),
        rms_norm_eps=config["rms_norm_eps"],
        tie_word_embeddings=_said(config, "tie_word_embeddings", bool, False, source),
        **_layout(family, config, source),
    )
    if problem := _impossible(shape):
        raise UserError(f"{source}: {problem}; the file is damaged, fetch or make the model folder again")
    _require_understood(config, family, shape, source)
    return replace(shape, scaling=_scaling(rope, shape, source))


def _windowed(config: dict[str, Any]) -> bool:
    """Whether some layers see only the last tokens: a Mistral's, of which a file that says nothing means 4,096; a
    Qwen's where it says so."""
    if config["model_type"] == "mistral":
        window, longest = config.get("sliding_window", MISTRAL_WINDOW), config.get("max_position_embeddings")
        return isinstance(window, int) and not (isinstance(longest, int) and window >= longest)
    return config.get("use_sliding_window") is True and config.get("sliding_window") is not None


def _said(config: dict[str, Any], key: str, kind: type | tuple[type, ...], default: Any, source: Path) -> Any:
    """What the file says under a key that it may leave out."""
    return default if config.get(key) is None else require(config, {key: kind}, str(source))[key]


def _layout(family: Family, config: dict[str, Any], source: Path) -> dict[str, Any]:
    """The fields of the shape in which families differ."""
    layout = {"qkv_bias": False} | dict(family.layout)
    layout["head_dim"] = _said(config, "head_dim", int, layout.get("head_dim"), source)
    if "attention_bias" in family.chosen:
        layout["qkv_bias"] = layout["output_bias"] = _said(config, "attention_bias", bool, False, source)
    if "mlp_bias" in family.chosen:
        layout["mlp_bias"] = _said(config, "mlp_bias", bool, False, source)
    return layout


def _rope(config: dict[str, Any], source: Path) -> tuple[Any, dict[str, Any]]:
    """The base of the rotary embeddings, which stands beside the sizes or in an object of its own, and what that object
    says besides; UserError where there are two of one of them."""
    found = {key: require(config[key], {}, f"{source}, {key}") for key in _ROPE if config.get(key)}
    places = (config, *found.values())
    thetas = [place["rope_theta"] for place in places if place.get("rope_theta") is not None]
    if any(theta != thetas[0] for theta in thetas) or len(found) > 1:
        raise UserError(
            f"{source}: the rotary embeddings are described twice, in {' and '.join(found)} and beside the sizes; keep "
            "one `rope_theta` in a copy of the folder"
        )
    theta = thetas[0] if thetas else 10000.0
    require({"rope_theta": theta}, {"rope_theta": (int, float)}, str(source))
    rope = {key: value for place in found.values() for key, value in place.items() if value is not None}
    return theta, {key: value for key, value in rope.items() if key != "rope_theta"}


# What each way of stretching may be told, beside its name.
_STRETCHED: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "dynamic": ("factor",),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": (
        *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow"),
        *("mscale", "mscale_all_dim", "truncate"),
    ),
}


def _scaling(rope: dict[str, Any], shape: DecoderShape, source: Path) -> Scaling | None:
    """How the rotary embeddings are stretched; UserError for a way that is not known here, or told what is not.

    `dynamic` stretches only what is longer than the model's positions, and nothing longer is played or trained.
    """
    name = rope.get("rope_type", rope.get("type", "default"))
    where = f"{source}: rope_scaling or rope_parameters"
    if not isinstance(name, str) or name not in _STRETCHED:
        raise UserError(f"{where}: rotary embeddings of the type {shown(name)}; known are {', '.join(_STRETCHED)}")
    told = {key: value for key, value in rope.items() if key not in ("rope_type", "type")}
    if told.get("partial_rotary_factor") == 1:
        del told["partial_rotary_factor"]
    if unknown := [key for key in told if key not in _STRETCHED[name]]:
        raise UserError(f"{where}: {unknown[0]} = {shown(told[unknown[0]])} is not followed for the type {name!r}")
    numbers = {key: value for key, value in told.items() if key != "truncate"}
    require(numbers, dict.fromkeys(numbers, (int, float)), where)
    if name == "default":
        return None
    required = {"factor", *(_STRETCHED[name][1:3] if name == "llama3" else ())}
    if absent := sorted(required - told.keys()):
        raise UserError(f"{where}: the type {name!r} needs {', '.join(absent)}")
    original = told.get("original_max_position_embeddings", shape.max_position_embeddings)
    if not (all(0 < value <= LARGEST for value in numbers.values()) and told["factor"] >= 1 and original >= 1):
        raise UserError(f"{where}: {shown(numbers)}: numbers above 0 are wanted, and a factor from 1 on")
    if name == "dynamic":
        return None
    if name == "linear":
        return Linear(told["factor"])
    if name == "llama3":
        low, high = told["low_freq_factor"], told["high_freq_factor"]
        if low >= high:
            raise UserError(f"{where}: low_freq_factor = {low} must be below high_freq_factor = {high}")
        return Llama3(told["factor"], low, high, original)
    factor = told["factor"]
    attention = told.get("attention_factor", yarn_attention(factor, told.get("mscale"), told.get("mscale_all_dim")))
    truncate = _said(told, "truncate", bool, True, source)
    return Yarn(factor, original, attention, told.get("beta_fast", 32), told.get("beta_slow", 1), truncate)


def _require_understood(config: dict[str, Any], family: Family, shape: DecoderShape, source: Path) -> None:
    """UserError names the keys that may change what a model computes and are not followed here."""
    neutral = (
        _NEUTRAL
        | dict(family.neutral)
        | {
            "model_type": config["model_type"],
            "architectures": [family.architecture],
            "layer_types": ["full_attention"] * shape.num_hidden_layers,
        }
    )
    followed = {*SIZES, *_ROPE, *family.chosen, *_WITHOUT_EFFECT}
    followed |= {"rms_norm_eps", "rope_theta", "tie_word_embeddings", "head_dim"}
    said = {key: value for key, value in config.items() if key not in followed and value is not None}
    refused = [
        key for key, value in said.items() if (value != neutral[key] if key in neutral else value not in _ABSENT)
    ]
    if refused:
        only = {key: f"; only {neutral[key]!r} is supported" for key in refused if key in neutral}
        listing = "".join(f"\n  {key} is {shown(config[key])}{only.get(key, '')}" for key in refused[:SHOWN])
        more = f"\n  … and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
        raise UserError(
            f"{source}: keys that this decoder, a plain {family.architecture}, does not follow:{listing}{more}\n"
            "choose another model, or remove the keys in a copy of the folder if they do not change what it computes"
        )


def shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}…"


def _impossible(shape: DecoderShape) -> str | None:
    """What contradicts itself in the sizes; None for a possible model."""
    for name in (*SIZES, *(("head_dim",) if shape.head_dim is not None else ())):
        if not 1 <= getattr(shape, name) <= LARGEST:
            return f"{name} = {getattr(shape, name)} must be between 1 and {LARGEST}"
    if not 1.0 < shape.rope_theta <= 1e12:
        return f"rope_theta = {shape.rope_theta} must be above 1 and at most 1e12"
    if not (math.isfinite(shape.rms_norm_eps) and 0.0 < shape.rms_norm_eps < 1.0):
        return f"rms_norm_eps = {shape.rms_norm_eps} must be between 0 and 1"
    if (shape.head_dim is None and shape.hidden_size % shape.num_attention_heads) or shape.head_size % 2:
        return f"hidden_size = {shape.hidden_size} must be an even multiple of num_attention_heads"
    if shape.num_attention_heads % shape.num_key_value_heads:
        return "num_attention_heads must be a multiple of num_key_value_heads"
    return None
