"""Checks of a tokenizer that came with a model folder: readable files, an end token, room in the model, text that
comes back as it went in, a chat template that renders and comes to an end.

A chat template is a program. `transformers` runs it in Jinja's sandbox, which keeps it from Python's internals but not
from looping for days or filling the memory, so its first rendering here has a limit of lines and of memory.
"""

from __future__ import annotations

import codecs
import json
import resource
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from hiper.config import Prompt
from hiper.errors import UserError
from hiper.learning.model_files import CONFIG, GENERATION, end_tokens
from hiper.records import read_json, require

TOKENIZER, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
LINES = 2_000_000  # Python lines that reading a template may take; those of the Qwen family take thousands
MEMORY = 1 << 30  # bytes beyond those that the process has
PROBE = "<switch>SWITCH</switch>\n  Go to drawer 12, then search[red T-shirt] (2 left)."

T = TypeVar("T")


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder; files only, nothing is fetched and no code from the folder is run.

    UserError names the file that is missing, damaged, of another model, or whose chat template cannot be used.
    """
    if not (folder / "tokenizer.json").exists():
        raise UserError(f"{folder / 'tokenizer.json'}: no such file; the model folder needs a fast tokenizer")
    tokenizer = open_tokenizer(folder)
    require_template(lambda: chat_frame(tokenizer), folder)
    return tokenizer


@dataclass(frozen=True)
class Chat:
    """What a chat template is asked for besides the user's message: a `system` message in place of what it says
    without one; `thinking`, where it can be asked."""

    system: str | None = None
    thinking: bool = False

    @classmethod
    def of(cls, prompt: Prompt) -> Chat:
        return cls(prompt.system, prompt.thinking)


PLAIN = Chat()


def chat_frame(tokenizer: Any, chat: Chat = PLAIN) -> tuple[str, str]:
    """What the chat template puts before and after a single user message that is to be answered.

    Rendering the template costs a millisecond, several times the encoding of a short prompt, so it is done once.
    UserError where there is no template, where a message is not shown as it is, once, or where the template asks what
    day it is.
    """
    if tokenizer.chat_template is None:
        raise UserError(
            f"no chat template, here or in {TEMPLATE}, and prompts are written by it: take the model that was trained "
            f"to answer (…-Instruct, …-Chat), or put its family's template into a copy of the folder, as {TEMPLATE}"
        )
    marker = "\u0000message\u0000"
    system = [] if chat.system is None else [{"role": "system", "content": chat.system}]
    text = tokenizer.apply_chat_template(
        [*system, {"role": "user", "content": marker}],
        tokenize=False,
        add_generation_prompt=True,
        strftime_now=_no_clock,
        enable_thinking=chat.thinking,
    )
    if chat.system is not None and chat.system.strip() not in text:
        raise UserError("the chat template does not show a system message; set prompt.system to null")
    if (shown := text.count(marker)) != 1:
        often = f"{shown} times, and once is wanted" if shown else "as it is"
        raise UserError(f"the tokenizer's chat template does not show the user's message {often}")
    before, _, after = text.partition(marker)
    return before, after


def _no_clock(form: str) -> str:
    raise UserError(
        "the chat template writes the date into every prompt (strftime_now), so that no run could be repeated; write a "
        "fixed date in a copy of the folder"
    )


def read_alike(tokenizer: Any, folder: Path) -> bool:
    """Whether other tools, which take the class that `AutoTokenizer` chooses, give a text the same ids."""
    from transformers import AutoTokenizer

    try:
        other = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ids = other.encode(PROBE, add_special_tokens=False)
    except Exception:
        return False  # what they cannot read has no ids
    return bool(ids == tokenizer.encode(PROBE, add_special_tokens=False))


def open_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a folder as `transformers` reads it; UserError names the damaged file."""
    from transformers import PreTrainedTokenizerFast

    _require_no_mark(folder)
    content = require(read_json(folder / TOKENIZER), {"model": dict}, str(folder / TOKENIZER))
    if (folder / SETTINGS).exists():
        require(read_json(folder / SETTINGS), {}, str(folder / SETTINGS))
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        # limits that a saved tokenizer brings along would cut or fill prompts
        tokenizer = _without_added_space(tokenizer)
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        known, spelled = frozenset(tokenizer.get_vocab().values()), _spelled(tokenizer)
    except BaseException as error:
        # a panic of the Rust library is a BaseException of its own
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        kind = content["model"].get("type")
        raise UserError(
            f"{folder / TOKENIZER}: not a tokenizer that can be read (model type {kind!r}; {_brief(error)}); check it "
            f"and {SETTINGS} beside it, or make the folder again"
        ) from None
    _require_ends(tokenizer, folder, known)
    _require_room(max(known, default=-1), folder)
    if spelled != PROBE:
        raise UserError(
            f"{folder / TOKENIZER}: changes the text that it encodes: {PROBE!r} comes back as {spelled[:100]!r}; "
            "a tokenizer like Qwen's is needed, which keeps letters and spaces"
        )
    return tokenizer


def _without_added_space(tokenizer: Any) -> Any:
    """Tokenizers made by SentencePiece (Llama 2, TinyLlama, Mistral) put a space before every text and take one away
    from the beginning of what they decode. Answers are encoded and decoded piece by piece, so both are left out here;
    what the folder holds stays as it is."""
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    plain = {key: _plain(content.get(key)) for key in ("normalizer", "pre_tokenizer", "decoder")}
    if any(content.get(key) != part for key, part in plain.items()):
        tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(content | plain))
    return tokenizer


def _plain(part: Any) -> Any:
    """A step of a tokenizer without what adds or removes a space; None where nothing is left."""
    if (
        not isinstance(part, dict)
        or part.get("type") == "Prepend"
        or (part.get("type") == "Strip" and "content" in part)
    ):
        return None
    if part.get("type") == "Metaspace":
        return part | {"prepend_scheme": "never"}
    for name in ("normalizers", "pretokenizers", "decoders"):
        if name in part:
            part = part | {name: [left for one in part[name] if (left := _plain(one)) is not None]}
    return part


def _require_no_mark(folder: Path) -> None:
    """Editors on Windows begin a file with a byte order mark; `transformers` takes it for text."""
    for name in (TOKENIZER, SETTINGS, TEMPLATE, "special_tokens_map.json", "added_tokens.json"):
        path = folder / name
        if path.is_file() and path.read_bytes().startswith(codecs.BOM_UTF8):
            raise UserError(f"{path}: begins with a byte order mark; save it in plain UTF-8, without one (without BOM)")


def ends(tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's own, and what the files beside it name (Qwen2.5-Instruct: two)."""
    folder = getattr(tokenizer, "name_or_path", "")  # of one that was read from a folder
    return frozenset((int(tokenizer.eos_token_id), *(end_tokens(Path(folder)) if folder else ())))


def _require_ends(tokenizer: Any, folder: Path, known: Collection[int]) -> None:
    if tokenizer.eos_token_id is None:
        raise UserError(f"{folder / SETTINGS}: no eos_token that {TOKENIZER} knows; name the token that ends an answer")
    if unknown := sorted(ends(tokenizer).difference(known)):
        named = GENERATION if (folder / GENERATION).exists() else CONFIG
        raise UserError(
            f"{folder / named}: eos_token_id names the token {unknown[0]}, which {TOKENIZER} does not have; it belongs "
            "to another model"
        )


def _spelled(tokenizer: Any) -> str:
    """The probe, encoded and read token by token, as answers are."""
    ids = tokenizer.encode(PROBE, add_special_tokens=False)
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    return "".join(tokenizer.decode([one], **options) for one in ids)


def _require_room(highest: int, folder: Path) -> None:
    """The model beside the tokenizer must have an embedding for every token."""
    path = folder / CONFIG
    if not path.exists():
        return  # the tokenizer of a model that is still to be made
    size = require(read_json(path), {"vocab_size": int}, str(path))["vocab_size"]
    if highest >= size:
        raise UserError(
            f"{folder / TOKENIZER}: has token number {highest}, but config.json says vocab_size = {size}; the "
            "tokenizer belongs to another model"
        )


def require_template(render: Callable[[], T], folder: Path) -> T:
    """What `render` gives; UserError when the chat template raises, reaches for Python's internals or never ends."""
    path = folder / TEMPLATE if (folder / TEMPLATE).exists() else folder / SETTINGS
    try:
        with _memory_limited():
            return _counted(render)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:
        raise UserError(f"{path}: the chat template cannot be used: {_brief(error)}") from None


class _TooLong(BaseException):
    """Not an Exception, so that nothing on the way takes it for an error of its own."""


def _counted(action: Callable[[], T]) -> T:
    """`action()` within LINES lines of Python: a limit that, unlike a time, is the same on every machine."""
    left, before = LINES, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooLong
        return trace

    sys.settrace(trace)
    try:
        return action()
    except _TooLong:
        raise UserError(f"the chat template does not end within {LINES} steps") from None
    finally:
        sys.settrace(before)


@contextmanager
def _memory_limited() -> Iterator[None]:
    """Let the process grow by MEMORY at most, then raise MemoryError; without effect where /proc does not tell."""
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = int(sizes.read_text().split()[0]) * resource.getpagesize() + MEMORY
    if soft == resource.RLIM_INFINITY or wanted < soft:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"
