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
from hiper.learning.qwen2 import Decoder, DecoderShape
from hiper.records import read_json, require

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
TYPES = ("F64", "F32", "F16", "BF16")  # what becomes float32 without a quantisation scheme of its own
LARGEST = 1 << 24  # no size of a language model comes near it; larger ones would overflow products
SHOWN = 4

_COUNTS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "max_position_embeddings"),
)
_LAYER = re.compile(r"model\.layers\.([0-9]{1,6})\.")


def shape_of(config: Any, source: Path) -> DecoderShape:
    """Sizes from a Qwen2 `config.json`; UserError for another architecture, a feature the decoder does not have, or
    sizes that no model can have."""
    config = require(config, {}, str(source))
    if config.get("model_type") != "qwen2":
        raise UserError(f"{source}: model_type is {config.get('model_type')!r}; this decoder reads 'qwen2' models only")
    if config.get("hidden_act", "silu") != "silu":
        raise UserError(f"{source}: hidden_act is {config['hidden_act']!r}; this decoder has 'silu' only")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    rope = require(rope, {}, f"{source}, rope_parameters")
    if rope.get("rope_type", "default") != "default" or config.get("use_sliding_window"):
        raise UserError(f"{source}: scaled rotary embeddings and sliding windows are not supported")
    require(config, dict.fromkeys(_COUNTS, int) | {"rms_norm_eps": (int, float)}, str(source))
    tied = config.get("tie_word_embeddings", False)
    theta = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    require({"rope_theta": theta, "tie_word_embeddings": tied}, _OPTIONAL, str(source))
    shape = DecoderShape(
        **{name: config[name] for name in _COUNTS},
        rope_theta=float(theta),
        rms_norm_eps=config["rms_norm_eps"],
        tie_word_embeddings=tied,
    )
    if problem := _impossible(shape):
        raise UserError(f"{source}: {problem}; the file is damaged, fetch or make the model folder again")
    return shape


_OPTIONAL: dict[str, type | tuple[type, ...]] = {"rope_theta": (int, float), "tie_word_embeddings": bool}


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
    """The files with the weights: `name`, or those that `<name>.index.json` lists; UserError where one is missing."""
    index = folder / f"{name}.index.json"
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
    return [_present(folder / found) for found in sorted(names)]


def _present(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file; the model folder is incomplete, fetch or make it again")
    return path


def require_fit(shape: DecoderShape, files: Sequence[Path], folder: Path) -> None:
    """UserError unless the headers of `files` hold the tensors of a decoder of this shape, and no others."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        found |= _header(path)
    layers = {int(match[1]) for name in found if (match := _LAYER.match(name))}
    if len(layers) != shape.num_hidden_layers:
        raise UserError(
            f"{folder}: config.json has num_hidden_layers = {shape.num_hidden_layers}, the weights have {len(layers)}"
        )
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in Decoder(shape).state_dict().items()}
    if shape.tie_word_embeddings and EMBEDDING in found:
        found.setdefault(OUTPUT, found[EMBEDDING])
    problems = [f"{name} is missing" for name in wanted.keys() - found.keys()]
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
