"""Model folders: ordinary Hugging Face folders (config.json, model.safetensors, tokenizer files), value heads beside
them. What comes from outside is checked before memory is asked for: sizes, names and types against the files' headers.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
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


Taking = Callable[[nn.Parameter], None]
"""What is done with a parameter as soon as it is there: it may keep a part of it alone."""


def load_decoder(
    folder: Path, device: str = "cpu", dtype: torch.dtype | None = torch.float32, take: Taking | None = None
) -> Decoder:
    """Read `config.json` and the safetensors weights (one file or an indexed set) into parameters of `dtype` (None: as
    each is in the files): a decoder of our own, or the library's class behind the same contract
    (`hiper.learning.library_model`), which is float32 where nothing is said.

    Of our own decoder `take` gets each parameter before the next one is read; a class of the library is put together
    in float32 first, in which it is checked. UserError names the file that is missing, damaged, or does not fit the
    others.
    """
    shape, files = described(folder)
    weights = _Stored(files)
    if isinstance(shape, LibraryShape):
        for name, value in weights.items():
            _require_finite(name, value, folder)
        model: Decoder = library_model(shape, weights, folder / CONFIG).to(device, dtype)
        for parameter in model.parameters() if take is not None else ():
            take(parameter)
        return model
    with torch.device("meta"):
        decoder = Decoder(shape)
    tied = shape.tie_word_embeddings
    for name, value in weights.items():
        _require_finite(name, value, folder)
        parameter = nn.Parameter(value.to(device, dtype, copy=True))
        if take is not None:
            take(parameter)
        owner, _, last = (EMBEDDING if tied and name == OUTPUT else name).rpartition(".")
        setattr(decoder.get_submodule(owner), last, parameter)
    if tied:
        _require_tied(weights, folder)
        decoder.lm_head.weight = decoder.model.embed_tokens.weight
    return decoder


def _require_finite(name: str, value: Tensor, folder: Path) -> None:
    # the smallest and the largest are NaN where anything is; to look at each number would make tensors of this size
    if value.numel() and not all(end.isfinite() for end in value.aminmax()):
        raise UserError(f"{folder}: {name} holds NaN or infinite numbers; the model diverged or is damaged")


def require_values(folder: Path) -> None:
    """UserError where the values of the weights are such as `load_decoder` refuses: one pass over the files, one tensor
    at a time."""
    shape, files = described(folder)
    weights = _Stored(files)
    for name, value in weights.items():
        _require_finite(name, value, folder)
    if isinstance(shape, DecoderShape) and shape.tie_word_embeddings:
        _require_tied(weights, folder)


def _require_tied(weights: Mapping[str, Tensor], folder: Path) -> None:
    held = [weights[name] for name in (EMBEDDING, OUTPUT) if name in weights]
    if not torch.equal(held[0], held[-1]):
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
    named = dict(decoder.named_parameters()) if weights is None else dict(weights)
    named |= {name: value for name, value in decoder.state_dict().items() if _is_buffer(decoder, name)}
    tensors = {name: p.detach().cpu().contiguous() for name, p in in_files(decoder, named).items()}
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values() if tensor.is_floating_point()}
    config, generation = _descriptions(decoder.shape, source, kinds, eos_token_id, pad_token_id)
    write_json(folder / CONFIG, config)
    write_json(folder / GENERATION, generation)
    save_tensors(tensors, folder / WEIGHTS)
    for name in TOKENIZER_FILES:
        if (source / name).exists() and source != folder:
            with atomic_path(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)


def _is_buffer(module: nn.Module, name: str) -> bool:
    owner, _, last = name.rpartition(".")
    return last in module.get_submodule(owner)._buffers


def _descriptions(
    shape: DecoderShape | LibraryShape, source: Path, kinds: Collection[str], end: int, pad: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and generation_config.json: those of `source`, where it is this model's, with the type of the weights
    as they are written (of several `kinds` the source's word stands) and the end token of the answers that were
    trained."""
    dtype = next(iter(kinds)) if len(kinds) == 1 else "float32"
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
            "dtype": dtype,
            "eos_token_id": end,
            "pad_token_id": pad,
            **{name: getattr(shape, name) for name in WRITTEN},
        }
        return own, {"eos_token_id": end, "pad_token_id": pad}
    read = read_json(path)
    names = {"dtype", *({"torch_dtype"} & read.keys())} if len(kinds) == 1 else set()
    config = read | dict.fromkeys(names, dtype)
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


class _Stored(Mapping[str, Tensor]):
    """The tensors of `files` by name. Each is read when it is asked for, as pages of its file that nobody has to hold,
    and that all processes of a machine share."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.streams: dict[str, Any] = {}
        for path in files:
            stream = _opened(path)
            self.streams |= {name: stream for name in stream.keys() if not name.endswith(BUFFER)}  # noqa: SIM118

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self.streams[name].get_tensor(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def __len__(self) -> int:
        return len(self.streams)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read as safetensors ({error}); fetch or make the model folder again")
