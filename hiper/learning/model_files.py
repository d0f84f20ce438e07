"""Checks of a model folder's files before anything is allocated: `config.json`, the index of shards, tensor headers.

A folder may come from anywhere: every number is a claim until the headers of the weight files agree with it, and every
file name in an index is refused unless it names a file of the folder itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from hiper.errors import UserError
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.library_model import LibraryShape, wanted_tensors
from hiper.learning.model_config import SHOWN, shown
from hiper.learning.pretrained import ADAPTERS
from hiper.records import read_json, require

CONFIG, GENERATION = "config.json", "generation_config.json"
EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
BUFFER = ".rotary_emb.inv_freq"  # how a tensor is called that old files hold and that follows from config.json
TYPES = ("F64", "F32", "F16", "BF16")  # what becomes float32 without a quantisation scheme of its own

_LAYER = re.compile(r"model\.layers\.([0-9]{1,6})\.")


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
        raise UserError(f"{path}: `eos_token_id` = {shown(named)} must be the number of a token, or a list of them")
    return tuple(dict.fromkeys(ids))


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


def require_fit(shape: DecoderShape | LibraryShape, files: Sequence[Path], folder: Path) -> None:
    """UserError unless the headers of `files` hold the tensors of a model of this shape, and no others."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        found |= {name: size for name, size in _header(path).items() if not name.endswith(BUFFER)}
    if isinstance(shape, DecoderShape):
        _require_layers(shape, found, folder)
        with torch.device("meta"):
            wanted = {name: tuple(value.shape) for name, value in Decoder(shape).state_dict().items()}
        tied = [[EMBEDDING, OUTPUT]] if shape.tie_word_embeddings else []
    else:
        wanted, tied = wanted_tensors(shape, folder / CONFIG)
    for names in tied:
        if held := [name for name in names if name in found]:
            found = {name: found[held[0]] for name in names} | found
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


def _require_layers(shape: DecoderShape, found: Collection[str], folder: Path) -> None:
    layers = {int(match[1]) for name in found if (match := _LAYER.match(name))}
    if found and not layers:
        raise UserError(
            f"{folder}: no tensor is called model.layers.…, the first is {min(found)!r}; these are adapters, a model "
            "without its output layer, or weights under a prefix: save the model whole, as a causal language model"
        )
    if len(layers) != shape.num_hidden_layers:
        raise UserError(
            f"{folder}: config.json has num_hidden_layers = {shape.num_hidden_layers}, the weights have {len(layers)}"
        )


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
