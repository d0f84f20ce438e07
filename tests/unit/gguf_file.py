"""A GGUF file of a Llama, as llama.cpp's own converter lays it out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
INSIDE = {
    **{"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
    **{f"self_attn.{one}_proj": f"attn_{one}" for one in "qkv"},
    **{"self_attn.o_proj": "attn_output"},
    **{f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")},
}


def write_gguf(path: Path, model: Any, tokenizer: Any, kind: str, without: str = "", **further: Any) -> None:
    """Of a LlamaForCausalLM and a byte-level BPE; matrices are quantised as `kind`. One tensor may be left `without`;
    `further` metadata: `rope_scaling_factor=4.0`."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    config, writer = model.config, GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    for name, value in further.items():
        getattr(writer, f"add_{name}")(value)
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    ids, special = described["model"]["vocab"], {one["content"] for one in described["added_tokens"]}
    tokens = sorted(ids, key=lambda token: int(ids[token]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])  # 3: a control token
    writer.add_token_merges([" ".join(pair) for pair in described["model"]["merges"]])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(int(tokenizer.eos_token_id))
    writer.add_chat_template(tokenizer.chat_template)
    for name, weight in _tensors(model):
        kept = GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
        if name != without:
            writer.add_tensor(name, quants.quantize(np.ascontiguousarray(weight), kept), raw_dtype=kept)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """By llama.cpp's names; rows of queries and keys in its order, in which the two halves of a head alternate."""
    for name, parameter in model.named_parameters():
        weight, base = parameter.detach().numpy(), name.removesuffix(".weight")
        if base.endswith(("q_proj", "k_proj")):
            halves = weight.reshape(-1, 2, model.config.head_dim // 2, weight.shape[1])
            weight = halves.swapaxes(1, 2).reshape(weight.shape)
        if base in OUTSIDE:
            yield f"{OUTSIDE[base]}.weight", weight
        else:
            _, _, number, part = base.split(".", 3)
            yield f"blk.{number}.{INSIDE[part]}.weight", weight
