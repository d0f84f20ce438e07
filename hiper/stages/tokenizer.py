"""A byte-level BPE for models made from scratch, learned from the demonstrations.

Names of things and numbers are tokens of their own, so that a small model can match the object a task names with the
objects it sees; a BPE free to merge "take keychain 2" into one token would hide the name. The benchmark's record reads
the names from the text and says what may merge.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from hiper.benchmarks.record import record_of
from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning.guide import TAGS
from hiper.locks import exclusive
from hiper.manifest import verify_outputs, withdraw_manifest, write_manifest
from hiper.records import write_json, write_text
from hiper.stages.demonstrations import read_demonstrations
from hiper.stages.sharing import take_over

log = logging.getLogger(__name__)

END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
# ChatML, the format of the Qwen family
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(settings: RunSettings, demonstrations: Path, output: Path, data_root: Path) -> None:
    """Learn the tokenizer and write a Hugging Face tokenizer folder, with `manifest.json`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    started = time.monotonic()
    if settings.model.scratch is None:
        raise UserError(f"model {settings.model.name!r} is pretrained and brings its own tokenizer")
    verify_outputs(demonstrations.parent)
    inputs = {"demonstrations": demonstrations}
    with exclusive(output):
        if take_over(output, "tokenizer", settings, data_root, inputs, started):
            return
    texts = [text for row in read_demonstrations(demonstrations) for text in (row.prompt, row.answer)]
    chats = [_without_tags(text) for text in texts]
    size = settings.model.scratch.vocabulary
    kept = record_of(settings.benchmark.name).token_names(chats, size)
    added = kept.names if kept.added else ()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(kept.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(added),
        special_tokens=[PAD, START, END, *TAGS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"user\n{text}\nassistant\n" for text in chats], trainer)
    tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=False) for name in added])
    # For Qwen2 models `AutoTokenizer` of transformers 5 takes Qwen2Tokenizer, whatever `tokenizer_class` says, and that
    # has a pre-tokenizer of its own: other ids. A class in `auto_map` keeps it from doing so. No code stands behind it:
    # with `trust_remote_code` the library would look for some in the folder and fail.
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "auto_map": {"AutoTokenizer": [None, "transformers.PreTrainedTokenizerFast"]},
        "chat_template": CHAT_TEMPLATE,
        "eos_token": END,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": settings.prompt.max_tokens + settings.decoding.max_response_tokens,
    }
    with exclusive(output):
        withdraw_manifest(output)
        write_text(output / "tokenizer.json", tokenizer.to_str(pretty=True))
        write_json(output / "tokenizer_config.json", described)
        written = [output / "tokenizer.json", output / "tokenizer_config.json"]
        write_manifest(output, settings, data_root, inputs, started, written)
    log.info("tokenizer: %d tokens, %d names kept whole", tokenizer.get_vocab_size(), len(kept.names))


def _without_tags(text: str) -> str:
    for tag in TAGS:
        text = text.replace(tag, "\n")
    return text
