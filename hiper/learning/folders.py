"""Model folders: ordinary Hugging Face folders (config.json, model.safetensors, tokenizer files), value heads beside
them. What comes from outside is checked before memory is asked for: sizes, names and types against the files' headers.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hiper.errors import UserError
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.library_model import LibraryShape, in_files, library_model
from hiper.learning.model_config import SIZES, shape_of
from hiper.learning.model_files import (
    BUFFER,
    CONFIG,
    EMBEDDING,
    GENERATION,
    OUTPUT,
    end_tokens,
    require_fit,
    weight_files,
)
from hiper.records import atomic_path, read_json, write_json

WEIGHTS = "model.safetensors"
VALUE_HEADS = "value_heads.safetensors"
WRITTEN = (*SIZES, "tie_word_embeddings", "rope_theta", "rms_norm_eps")  # of a model from scratch, of Qwen2's layout
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)


def load_decoder(folder: Path, device: str = "cpu") -> Decoder:
    """Read `config.json` and the safetensors weights (one file or an indexed set) into float32 parameters: a decoder of
    our own, or the library's class behind the same contract (`hiper.learning.library_model`).

    UserError names the file that is missing, damaged, or does not fit the others.
    """
    shape, files = described(folder)
    weights: dict[str, Tensor] = {}
    for path in files:
        weights |= {name: values for name, values in _load_tensors(path).items() if not name.endswith(BUFFER)}
    for name, values in weights.items():
        _require_finite(folder, name, values)
    if isinstance(shape, LibraryShape):
        model: Decoder = library_model(shape, weights, folder / CONFIG).to(device)
        return model
    if shape.tie_word_embeddings:
        _require_tied(folder, weights.setdefault(OUTPUT, weights[EMBEDDING]), weights[EMBEDDING])
    decoder = Decoder(shape)
    decoder.load_state_dict({key: value.float() for key, value in weights.items()})
    return decoder.to(device)


def require_values(folder: Path) -> None:
    """UserError where the values of the weights are such as `load_decoder` refuses; one tensor after the other is read,
    so that this takes little memory and one pass over the files."""
    shape, files = described(folder)
    ends: dict[str, Tensor] = {}
    for path in files:
        try:
            with safe_open(path, "pt") as stream:
                names: list[str] = stream.keys()
                for name in names:
                    values = stream.get_tensor(name)
                    _require_finite(folder, name, values)
                    ends |= {name: values} if name in (EMBEDDING, OUTPUT) else {}
        except (OSError, SafetensorError) as error:
            raise _unreadable(path, error) from None
    if isinstance(shape, DecoderShape) and shape.tie_word_embeddings and OUTPUT in ends:
        _require_tied(folder, ends[OUTPUT], ends[EMBEDDING])


def _require_finite(folder: Path, name: str, values: Tensor) -> None:
    if not name.endswith(BUFFER) and not torch.isfinite(values).all():
        raise UserError(f"{folder}: {name} holds NaN or infinite numbers; the model diverged or is damaged")


def _require_tied(folder: Path, output: Tensor, embedding: Tensor) -> None:
    if not torch.equal(output, embedding):
        raise UserError(f"{folder}: tie_word_embeddings is true in config.json, but {OUTPUT} differs from {EMBEDDING}")


def described(folder: Path) -> tuple[DecoderShape | LibraryShape, list[Path]]:
    """The sizes that config.json names and the files with the weights, whose headers agree; UserError otherwise."""
    shape = shape_of(read_json(folder / CONFIG), folder / CONFIG)
    files = weight_files(folder, WEIGHTS)
    require_fit(shape, files, folder)
    return shape, files


def require_positions(shape: DecoderShape | LibraryShape, wanted: int, source: Path) -> None:
    """UserError when the longest prompt with its answer (`wanted` tokens) does not fit into the model of `source`."""
    room = shape.max_position_embeddings
    if wanted > room:
        raise UserError(
            f"{source / CONFIG}: the model has {room} positions, prompt.max_tokens + "
            f"decoding.max_response_tokens = {wanted}; lower one of them"
        )


def save_decoder(
    decoder: Decoder,
    folder: Path,
    source: Path,
    eos_token_id: int,
    pad_token_id: int,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the folder. `source` is where the model comes from: its tokenizer files are copied, and what its
    config.json and generation_config.json say is kept. `weights` are the decoder's by name of the parameter, where it
    holds only a part of each itself."""
    folder.mkdir(parents=True, exist_ok=True)
    config, generation = _descriptions(decoder.shape, source, eos_token_id, pad_token_id)
    write_json(folder / CONFIG, config)
    write_json(folder / GENERATION, generation)
    named = dict(decoder.named_parameters()) if weights is None else dict(weights)
    named |= {name: value for name, value in decoder.state_dict().items() if _is_buffer(decoder, name)}
    tensors = {name: p.detach().cpu().contiguous() for name, p in in_files(decoder, named).items()}
    save_tensors(tensors, folder / WEIGHTS)
    for name in TOKENIZER_FILES:
        if (source / name).exists() and source != folder:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)


def _is_buffer(module: nn.Module, name: str) -> bool:
    owner, _, last = name.rpartition(".")
    return last in module.get_submodule(owner)._buffers


def _descriptions(
    shape: DecoderShape | LibraryShape, source: Path, end: int, pad: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and generation_config.json: those of `source`, where it is this model's, with the type of the weights
    as they are written and the end token of the answers that were trained."""
    path, generation = source / CONFIG, source / GENERATION
    if not path.exists() or shape_of(read_json(path), path) != shape:
        assert isinstance(shape, DecoderShape)
        own = {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "use_cache": True,
            "use_sliding_window": False,
            "dtype": "float32",
            "eos_token_id": end,
            "pad_token_id": pad,
            **{name: getattr(shape, name) for name in WRITTEN},
        }
        return own, {"eos_token_id": end, "pad_token_id": pad}
    read = read_json(path)
    config = read | dict.fromkeys({"dtype", *({"torch_dtype"} & read.keys())}, "float32")
    ends = list(dict.fromkeys((end, *end_tokens(source))))
    kept = read_json(generation) if generation.exists() else {"pad_token_id": pad}
    return config, kept | {"eos_token_id": end if len(ends) == 1 else ends}


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Safetensors, whole or not at all; an OSError with the path when the disk is full or not writable."""
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            # the library hides the system's error number in its text: "... (os error 28)"
            if number := re.search(r"\(os error (\d+)\)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read as safetensors ({error}); fetch or make the model folder again")
