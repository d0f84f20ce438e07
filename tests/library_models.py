"""Small random model folders of many families, each saved by the library's own class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

SIZES: Mapping[str, Any] = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "attn_implementation": "eager"},
}
ORIGINAL = {"original_max_position_embeddings": 64}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}

# What the decoder of our own computes: by name the class, and what its configuration says beside SIZES.
OWN: Mapping[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen2-yarn": ("Qwen2", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, **ORIGINAL}}),
    "llama": ("Llama", {}),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12, "tie_word_embeddings": True}),
    "llama-dynamic": ("Llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}}),
    "llama3": ("Llama", {"rope_parameters": {"rope_type": "llama3", "rope_theta": 500.0, **LLAMA3}}),
    "mistral": ("Mistral", {"sliding_window": None, "head_dim": 16}),
    "mistral-linear": (
        "Mistral",
        {"sliding_window": None, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    ),
    "qwen3": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3-biases": ("Qwen3", {"head_dim": 8, "attention_bias": True}),
}

# What the library's own class computes.
OTHERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "gemma2": ("Gemma2", {"head_dim": 16, "sliding_window": 16, "query_pre_attn_scalar": 24}),
    "gemma3_text": (
        "Gemma3",
        {"head_dim": 16, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "phi": ("Phi", {"partial_rotary_factor": 0.5}),
    "phi3": ("Phi3", {"sliding_window": 24}),
    "qwen3_moe": (
        "Qwen3Moe",
        {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    ),
    "mistral-window": ("Mistral", {"sliding_window": 16}),
}


def make(name: str, folder: Path, family: str, said: Mapping[str, Any], shards: int = 1) -> Any:
    """Save a random model, in as many files or more, and return it. Its weights are far from where they begin, so that
    norms, biases and positions matter."""
    import transformers

    suffix = "TextConfig" if family == "Gemma3" else "Config"
    config = getattr(transformers, f"{family}{suffix}")(**{**SIZES, **said})
    torch.manual_seed(len(name))
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    size = sum(parameter.numel() * 4 for parameter in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 1)
    return model


def make_with_tokenizer(name: str, folder: Path, tokenizer_folder: Path, **sizes: Any) -> None:
    """As `make`, a family of OWN or OTHERS with a tokenizer, ready for the warm start; `sizes` instead of its own."""
    from hiper.learning.folders import TOKENIZER_FILES
    from hiper.policies.tokenizer_files import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    family, said = {**OWN, **OTHERS}[name]
    ends = {"eos_token_id": int(tokenizer.eos_token_id), "pad_token_id": int(tokenizer.pad_token_id)}
    make(name, folder, family, {**said, **sizes, **ends, "vocab_size": len(tokenizer), "max_position_embeddings": 1024})
    for file in TOKENIZER_FILES:
        if (tokenizer_folder / file).exists():
            shutil.copy(tokenizer_folder / file, folder)


# As Qwen3's and SmolLM2's, which has no thoughts.
CHAT = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""


def without_tags(tokenizer: Any) -> Any:
    """The same, but a tag is several tokens, as in tokenizers of pretrained models, and the template names roles."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from hiper.learning.guide import TAGS

    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [one for one in described["added_tokens"] if one["content"] not in TAGS]
    own = Tokenizer.from_str(json.dumps(described))
    ends = {"eos_token": tokenizer.eos_token, "pad_token": tokenizer.pad_token or tokenizer.eos_token}
    made = PreTrainedTokenizerFast(tokenizer_object=own, **ends, chat_template=CHAT, clean_up_tokenization_spaces=False)
    assert all(len(made.encode(tag)) > 1 for tag in TAGS)
    return made
