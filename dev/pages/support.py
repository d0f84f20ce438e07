"""What was tried with each family of language models, as a Markdown table of what the tests that tried it recorded."""

from __future__ import annotations

import json
from pathlib import Path

RECORDS = Path(__file__).resolve().parents[2] / "tests" / "support.json"

# The families of tests/library_models.py, and what a reader calls them.
FAMILIES = {
    "qwen2": "Qwen2, Qwen2.5",
    "qwen2-yarn": "the same, stretched by YaRN",
    "llama": "Llama, SmolLM2, TinyLlama",
    "llama-biases": "the same with biases and a head size of its own",
    "llama-dynamic": "the same, stretched dynamically",
    "llama3": "Llama 3.1 and later (`llama3` scaling)",
    "mistral": "Mistral without a window",
    "mistral-linear": "the same, stretched linearly",
    "qwen3": "Qwen3",
    "qwen3-biases": "the same with biases",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3 (text)",
    "phi": "Phi 1, 1.5, 2",
    "phi3": "Phi 3",
    "qwen3_moe": "Qwen3, mixture of experts",
    "mistral-window": "Mistral with its window",
}
# What a test may say that it proved, and what that means.
PROVED = {
    "loads": "logits of long packed texts and the gradients of all parameters are those of the class of `transformers`",
    "samples": "free and guided decoding, with tags of one token and of several; guided answers are valid",
    "trains": "a warm start, an iteration of RL and an evaluation by the stages; what comes out loads again",
    "LoRA": "new adapters change nothing, take the gradients, and merge into the plain weights",
    "critics": "values learned from the actor's features, or by a network of the same family",
    "DeepSpeed": "an iteration of training with DeepSpeed's engine is that of plain torch",
    "DAG": "through the whole workflow, from `configs/model/NAME.yaml` to the evaluation",
    "vLLM": "log probabilities are the trainer's, before and after an update of the weights (on a CPU)",
    "real weights": "a published model, warm-started and trained",
}
TRIED, UNTRIED = "yes", "not tried"


def markdown() -> str:
    """A row for each family, a column for each thing that a test can prove; then what the columns mean."""
    found: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for said in json.loads(RECORDS.read_text(encoding="utf-8")).values():
        for family, what in said.items():
            found[family].update(what)
    rows = [
        f"| {called} | {' | '.join(TRIED if one in found[family] else UNTRIED for one in PROVED)} |"
        for family, called in FAMILIES.items()
    ]
    head = [f"| family | {' | '.join(PROVED)} |", f"|---|{'---|' * len(PROVED)}"]
    return "\n".join([*head, *rows, "", *(f"- **{name}**: {meaning}." for name, meaning in PROVED.items())])
