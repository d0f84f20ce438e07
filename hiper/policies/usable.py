"""Whether a model folder can be taught and sampled as a run's settings ask. All of it is read from the folder's
configuration, the headers of its weights and its tokenizer, so it can be asked before the first job as well as by the
stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hiper.benchmarks.record import record_of
from hiper.config import RunSettings
from hiper.learning.decoder import DecoderShape
from hiper.learning.folders import described, require_positions
from hiper.learning.guide import Guide
from hiper.learning.library_model import LibraryShape
from hiper.learning.model_config import FAMILIES
from hiper.learning.model_files import CONFIG
from hiper.planning.shapes import ModelShape
from hiper.policies.model_policy import guided_by
from hiper.policies.room import longest
from hiper.policies.tokenizer_files import Chat, chat_frame, load_tokenizer, require_template


def usable_tokenizer(settings: RunSettings, folder: Path) -> Any:
    """The tokenizer of a model folder that can be used with these settings; UserError says why it cannot."""
    shape, tokenizer = opened(folder)
    require_usable(settings, folder, shape, tokenizer)
    return tokenizer


def opened(folder: Path) -> tuple[DecoderShape | LibraryShape, Any]:
    """Sizes and tokenizer; UserError where the folder is damaged or of another architecture."""
    shape, _ = described(folder)
    return shape, load_tokenizer(folder)


def require_usable(settings: RunSettings, folder: Path, shape: DecoderShape | LibraryShape, tokenizer: Any) -> None:
    """UserError unless prompts with their answers fit and guided decoding, where wanted, has its tokens and room."""
    prompt, decoding = settings.prompt, settings.decoding
    require_positions(shape, longest(settings), folder)
    chat = Chat.of(prompt)
    require_template(lambda: chat_frame(tokenizer, chat), folder)
    if decoding.mode == "guided":
        guide = Guide(tokenizer, *guided_by(tokenizer, decoding, prompt.interface, chat))
        guide.start([record_of(settings.benchmark.name).first_action], None)
    require_sampled(settings, shape, folder / CONFIG)


def computed_by(shape: ModelShape) -> str | None:
    """Who computes the model, where it is not the decoder of our own."""
    if not isinstance(shape, LibraryShape):
        return None
    own = ", ".join(FAMILIES)
    return (
        f"transformers' {shape.architecture} computes it, which is slower on a CPU than the decoder here (which takes "
        f"the types {own}, without windows)"
    )


def require_sampled(settings: RunSettings, shape: ModelShape, source: object) -> None:
    """UserError where the sampler cannot take a model of this shape; `source` says where the shape comes from."""
    if settings.rollout.backend == "vllm" and settings.engine.device == "cpu":
        from hiper.policies.vllm_engine import require_heads

        require_heads(shape, source)
