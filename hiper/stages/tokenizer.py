"""A byte-level BPE for models made from scratch, learned from the demonstrations.

Names of things and numbers are tokens of their own, so that a small model can match the object a task names with the
objects it sees; a BPE free to merge "take keychain 2" into one token would hide the name. The names are read from the
text: in ALFWorld every lower-case word followed by a number, and everything between them may merge across words; in
WebShop whatever can be clicked. There no words merge, because a search is made of the task's words, and a name is one
token: products' names all begin alike, and a model that copies token by token cannot tell which of them it is copying.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

from hiper.config import RunSettings
from hiper.errors import UserError
from hiper.learning.guide import TAGS
from hiper.locks import exclusive
from hiper.manifest import verify_outputs
from hiper.records import write_json, write_text
from hiper.stages.demonstrations import read_demonstrations

log = logging.getLogger(__name__)

END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
# ChatML, the format of the Qwen family
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def entity_names(texts: list[str]) -> list[str]:
    """Lower-case words that stand before a number anywhere in `texts`, sorted, longest first."""
    counts = Counter(name for text in texts for name in re.findall(r"\b([a-z]{2,}) \d+\b", text))
    counts.pop("step", None)
    return sorted(counts, key=lambda name: (-len(name), name))


def clickable_names(texts: list[str], most: int) -> list[str]:
    """What stands in brackets in `texts` but searches: the `most` frequent of these names, sorted."""
    counts = Counter(name for text in texts for name in re.findall(r"(?<!search)\[([^\[\]]+)\]", text))
    ascii_names = [name for name in counts if name.isascii()]  # others do not survive decoding as tokens of their own
    return sorted(sorted(ascii_names, key=lambda name: (-counts[name], name))[:most])


def make(settings: RunSettings, demonstrations: Path, output: Path) -> None:
    """Learn the tokenizer and write a Hugging Face tokenizer folder."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    if settings.model.scratch is None:
        raise UserError(f"model {settings.model.name!r} is pretrained and brings its own tokenizer")
    verify_outputs(demonstrations.parent)
    texts = [text for row in read_demonstrations(demonstrations) for text in (row.prompt, row.answer)]
    chats = [_without_tags(text) for text in texts]
    size = settings.model.scratch.vocabulary
    if settings.benchmark.name == "webshop":
        names = clickable_names(chats, size // 2)
        pattern, size = r" ?[a-zA-Z]+|[\[\]]| ?\d+", size - len(names)
    else:
        names = entity_names(chats)
        pattern = rf"\b(?:{'|'.join(map(re.escape, names))})\b| ?\d+" if names else r" ?\d+"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END, *TAGS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f"user\n{text}\nassistant\n" for text in chats], trainer)
    if settings.benchmark.name == "webshop":
        tokenizer.add_tokens([AddedToken(name, single_word=True, normalized=False) for name in names])
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
        write_text(output / "tokenizer.json", tokenizer.to_str(pretty=True))
        write_json(output / "tokenizer_config.json", described)
    log.info("tokenizer: %d tokens, %d names kept whole", tokenizer.get_vocab_size(), len(names))


def _without_tags(text: str) -> str:
    for tag in TAGS:
        text = text.replace(tag, "\n")
    return text
