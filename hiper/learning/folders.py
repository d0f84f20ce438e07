"""Model folders: ordinary Hugging Face folders (config.json, model.safetensors, tokenizer files), value heads beside
them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hiper.errors import UserError
from hiper.learning.qwen2 import Decoder, DecoderShape
from hiper.records import read_json, write_json

WEIGHTS = "model.safetensors"
HEADS = "value_heads.safetensors"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
)


def shape_of(config: dict[str, Any], source: Path) -> DecoderShape:
    """Sizes from a Qwen2 `config.json`; UserError for another architecture or a feature the decoder does not have."""
    if config.get("model_type") != "qwen2":
        raise UserError(f"{source}: model_type is {config.get('model_type')!r}; this decoder reads 'qwen2' models only")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default" or config.get("use_sliding_window"):
        raise UserError(f"{source}: scaled rotary embeddings and sliding windows are not supported")
    try:
        return DecoderShape(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            num_key_value_heads=config["num_key_value_heads"],
            max_position_embeddings=config["max_position_embeddings"],
            rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10000.0))),
            rms_norm_eps=config["rms_norm_eps"],
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as key:
        raise UserError(f"{source}: {key} is missing; this is not a complete Qwen2 config.json") from None


def load_decoder(folder: Path, device: str = "cpu") -> Decoder:
    """Read `config.json` and the safetensors weights (one file or an indexed set) into float32 parameters."""
    decoder = Decoder(shape_of(read_json(folder / "config.json"), folder / "config.json"))
    index = folder / f"{WEIGHTS}.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.exists() else [WEIGHTS]
    weights: dict[str, Tensor] = {}
    for name in names:
        weights.update(_load_tensors(folder / name))
    if decoder.shape.tie_word_embeddings:
        weights.setdefault("lm_head.weight", weights.get("model.embed_tokens.weight", torch.empty(0)))
    try:
        decoder.load_state_dict({key: value.float() for key, value in weights.items()})
    except RuntimeError as error:
        raise UserError(f"{folder}: the weights do not fit config.json: {error}") from None
    return decoder.to(device)


def save_decoder(decoder: Decoder, folder: Path, tokenizer: Path, eos_token_id: int, pad_token_id: int) -> None:
    """Write the folder; `tokenizer` is the folder whose tokenizer files are copied."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = decoder.shape
    write_json(
        folder / "config.json",
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "use_cache": True,
            "use_sliding_window": False,
            "dtype": "float32",
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
            **{name: getattr(shape, name) for name in shape.__dataclass_fields__},
        },
    )
    write_json(folder / "generation_config.json", {"eos_token_id": eos_token_id, "pad_token_id": pad_token_id})
    weights = {name: p.detach().cpu().contiguous() for name, p in decoder.state_dict().items()}
    if shape.tie_word_embeddings:
        del weights["lm_head.weight"]
    save_tensors(weights, folder / WEIGHTS)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists() and tokenizer != folder:
            shutil.copyfile(tokenizer / name, folder / name)


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Safetensors through a temporary name, so that a crash leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    save_file(tensors, temporary, metadata={"format": "pt"})
    temporary.replace(path)


def _load_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; the model folder is incomplete") from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read as safetensors ({error}); make the model folder again") from None
