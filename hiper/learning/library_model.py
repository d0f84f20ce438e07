"""Every other causal language model: the class that ships in `transformers`, behind the contract of
`hiper.learning.decoder`.

The class computes all but attention, on one flat row of tokens without padding; attention comes back here, through the
library's registry of attention functions, and fills the same cache. Every layer computes every position, so this is
slower than the decoder of our own. Dropout stays off. A model whose class computes something else in this way is
refused when it is loaded: a few tokens are computed in both ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hiper.errors import UserError
from hiper.learning.decoder import Each, KeyValueCache, Packing
from hiper.learning.packed_attention import attend_packed, takes_packed
from hiper.planning.shapes import Counted, ModelShape

ATTENTION = "hiper_packed"  # our function's name in the library's registry
LAYERS = 1000  # the most that any model has
PROBES = ([3, 1, 4, 1, 5, 9, 2], [6, 5, 3])
TOLERANCE = 1e-3


@dataclass(frozen=True)
class LibraryShape(ModelShape):
    """What planning needs to know of a model, and what its class is made of: `content`, its `config.json`."""

    max_position_embeddings: int
    architecture: str
    content: str


# ---- from config.json


def library_shape(content: dict[str, Any], source: Path) -> LibraryShape:
    """Sizes, counted on the class itself; UserError where the library has no such class, or one that cannot be used."""
    config, kind = _configuration(content, source)
    try:
        shape = LibraryShape(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            tie_word_embeddings=bool(getattr(config, "tie_word_embeddings", False)),
            head_dim=getattr(config, "head_dim", None),
            max_position_embeddings=_positions(config),
            architecture=kind.__name__,
            content=json.dumps(content),
        )
    except AttributeError as error:
        raise UserError(f"{source}: {kind.__name__} is no plain decoder with attention ({error})") from None
    sizes = [value for value in vars(shape).values() if isinstance(value, int)]
    if any(not 0 <= size <= 1 << 24 for size in sizes) or not 1 <= shape.num_hidden_layers <= LAYERS:
        raise UserError(f"{source}: sizes that no model has; the file is damaged, fetch or make the model folder again")
    with torch.device("meta"):
        return replace(shape, counted=_counted(_made(shape, source)))


def _configuration(content: dict[str, Any], source: Path) -> tuple[Any, Any]:
    """The library's configuration object and its class for causal language models."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

    name = content.get("model_type")
    if not isinstance(name, str) or name not in CONFIG_MAPPING:
        raise UserError(
            f"{source}: model_type is {repr(name)[:80]}, which transformers {transformers.__version__} lacks"
        )
    if content.get("quantization_config"):
        raise UserError(f"{source}: quantization_config: quantised models cannot be trained; choose one that is not")
    try:
        config = CONFIG_MAPPING[name].from_dict(content)
    except Exception as error:  # the library has many words for a wrong value
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{source}: transformers cannot read it ({type(error).__name__}: {reason})") from None
    kind = getattr(transformers, CAUSAL.get(name, ""), None)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{source}: {name} models have an encoder and a decoder; a causal language model is needed")
    if any(hasattr(config, key) for key in ("vision_config", "audio_config")):
        raise UserError(f"{source}: {name} models read images or sound, too; a model of text alone is needed")
    if name in MASKED:
        raise UserError(f"{source}: {name} models read texts in both directions; a causal language model is needed")
    if kind is None or kind.__name__.endswith("ForConditionalGeneration"):
        raise UserError(f"{source}: transformers has no causal language model of the type {name!r}")
    if not kind._supports_attention_backend:
        raise UserError(f"{source}: {kind.__name__} takes no attention from outside, so it cannot be used")
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        raise UserError(f"{source}: {kind.__name__} has layers of the type {min(others)!r}, which is not followed")
    return config, kind


def _positions(config: Any) -> int:
    """How long a text may be. Beyond Phi's original length its rotary embeddings follow the longest of the texts that
    are computed together, so that what one of them means depends on the others."""
    rope = getattr(config, "rope_parameters", None) or {}
    longest: int = config.max_position_embeddings
    if rope.get("rope_type") == "longrope":
        longest = min(longest, int(rope["original_max_position_embeddings"]))
    return longest


def _made(
    shape: LibraryShape, source: Path, weights: dict[str, Tensor] | None = None, initialized: bool = False
) -> Any:
    """The class with these weights, or without, as memory has it or as the class initialises itself, behind our
    contract."""
    from transformers import AttentionInterface
    from transformers.initialization import no_init_weights
    from transformers.utils import logging

    AttentionInterface.register(ATTENTION, _attention)
    logging.disable_progress_bar()
    config, kind = _configuration(json.loads(shape.content), source)
    options = {"dtype": torch.float32, "attn_implementation": ATTENTION}
    try:
        if weights is None:
            with nullcontext() if initialized else no_init_weights():
                model = kind._from_config(config, **options).eval()
            model.tie_weights()
        else:
            # nothing is read here: the library puts them in place, as some of its classes hold several as one
            model, told = kind.from_pretrained(
                None, config=config, state_dict=weights, output_loading_info=True, **options
            )
            if wrong := [name for names in told.values() for name in names]:
                raise ValueError(f"{wrong[0]} does not fit")
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{source}: {kind.__name__} cannot be made of it ({type(error).__name__}: {reason})") from None
    backbone = model._modules.get(model.base_model_prefix)
    blocks = [] if backbone is None else [key for key, part in backbone.named_modules() if _is_list(part, shape)]
    if len(blocks) != 1:
        raise UserError(f"{source}: {kind.__name__} has no list of {shape.num_hidden_layers} layers")
    backbone.__class__ = _behind(PackedBackbone, type(backbone))
    backbone.blocks_name, backbone.shape, backbone.is_checkpointing = blocks[0], shape, False
    model.__class__ = _behind(PackedModel, type(model))
    model.shape = shape
    return model


def _is_list(part: Any, shape: ModelShape) -> bool:
    return isinstance(part, nn.ModuleList) and len(part) == shape.num_hidden_layers


@cache
def _behind(ours: type, theirs: type) -> type:
    # the library looks up by the name how weights lie in files, of classes of its own
    return type(theirs.__name__, (ours, theirs), {"__module__": theirs.__module__})


def _counted(model: Any) -> Counted:
    embedding = {id(model.get_input_embeddings().weight)}
    own = {id(p) for p in model.model.layers.parameters()} | embedding
    layers = [*model.model.layers]
    every = [[p for p in layer.parameters()] for layer in layers]
    sides = [sum(sum(m.weight.shape) for m in layer.modules() if isinstance(m, nn.Linear)) for layer in layers]
    inside = {id(p) for p in model.model.parameters()}
    output = model.get_output_embeddings().weight
    return Counted(
        products=tuple(sum(p.numel() for p in one if p.dim() > 1) for one in every),
        small=tuple(sum(p.numel() for p in one if p.dim() < 2) for one in every),
        sides=tuple(sides),
        body=sum(p.numel() for p in model.model.parameters() if id(p) not in own),
        head=sum(p.numel() for p in model.parameters() if id(p) not in inside and p is not output),
    )


# ---- from files


def library_model(shape: LibraryShape, weights: Mapping[str, Tensor], source: Path) -> Any:
    """The model with these weights, by the names of the class; UserError where it computes something else on packed
    rows than by itself."""
    with torch.device("meta"):
        groups = _tied(_made(shape, source))
    for names in groups:
        held = [name for name in names if name in weights]
        for name in held[1:]:
            if not torch.equal(weights[name], weights[held[0]]):
                raise UserError(f"{source.parent}: {name} differs from {held[0]}, with which config.json ties it")
    model = _made(shape, source, {name: value.float() for name, value in weights.items()})
    _require_alike(model, source)
    return model


def initial_model(shape: LibraryShape, source: Path, seed: int) -> Any:
    """The model as its class initialises it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _made(shape, source, initialized=True)


def in_files(model: nn.Module, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a model by the names of its folder's files: some classes hold several of those as one."""
    if not isinstance(model, PackedModel):
        return dict(named)
    from transformers.core_model_loading import revert_weight_conversion

    found: dict[str, Tensor] = revert_weight_conversion(model, dict(named))
    return found


def wanted_tensors(shape: LibraryShape, source: Path) -> tuple[dict[str, tuple[int, ...]], list[list[str]]]:
    """Names and shapes that a folder may hold, and groups of names of which it needs one."""
    with torch.device("meta"):
        model = _made(shape, source)
        found = in_files(model, model.state_dict())
    return {name: tuple(value.shape) for name, value in found.items()}, _tied(model)


def _tied(model: nn.Module) -> list[list[str]]:
    """Names of the same parameter."""
    groups: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


@torch.no_grad()
def _require_alike(model: Any, source: Path) -> None:
    """A few tokens in packed rows, the last of them from the cache, against the class with attention of its own."""
    probes = [[token % model.shape.vocab_size for token in probe] for probe in PROBES]
    problem = "hidden states differ"
    try:
        packed, _ = model.model.hidden(Packing.of(probes, [range(len(probe)) for probe in probes]))
        begun = [probe[:-1] for probe in probes]
        _, kept = model.model.hidden(Packing.of(begun, [[0]] * len(begun)), cache_room=1)
        after, _ = model.model.extend([probe[-1:] for probe in probes], kept)
        model.config._attn_implementation = "eager"
        own = [model(input_ids=torch.tensor([probe]), use_cache=False) for probe in probes]
        found = (model.logits(packed), model.logits(after))
        alone = [answer.logits[0].float() for answer in own]
        wanted = (torch.cat(alone), torch.stack([logits[-1] for logits in alone]))
        alike = all(_close(one, other) for one, other in zip(found, wanted, strict=True))
    except Exception as error:
        alike, problem = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        model.config._attn_implementation = ATTENTION
    if not alike:
        raise UserError(
            f"{source}: {model.shape.architecture} computes something else when texts are packed into one row "
            f"({problem}); choose another model"
        )


def _close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max())


# ---- the contract


class _Steady:
    """Buffers, such as the frequencies of rotary embeddings, stay in float32 when weights become bfloat16."""

    def _apply(self, change: Any, recurse: bool = True) -> Any:
        module: Any = self
        before = dict(module.named_buffers())
        changed = super()._apply(change, recurse)  # type: ignore[misc]
        for name, buffer in before.items():
            owner, _, last = name.rpartition(".")
            held = module.get_submodule(owner)._buffers
            if held[last].dtype != buffer.dtype:
                held[last] = buffer.to(held[last].device)
        return changed


class PackedModel(_Steady):
    """In front of a class `…ForCausalLM`; stands in for `hiper.learning.decoder.Decoder`."""

    shape: LibraryShape
    _modules: dict[str, Any]
    base_model_prefix: str

    @property
    def model(self) -> Any:
        return self._modules[self.base_model_prefix]

    def logits(self, hidden: Tensor) -> Tensor:
        """[n, hidden] → float32 [n, vocabulary], with all that the class does to logits."""
        row = hidden[None]
        logits: Tensor = self(inputs_embeds=row, use_cache=False, given=row).logits[0]  # type: ignore[operator]
        return logits.float()

    def over_logits(self, hidden: Tensor, each: Each) -> tuple[Tensor, Tensor]:
        """As `Decoder.over_logits`, in one chunk: what its class does to logits is not within its output matrix."""
        return each(self.logits(hidden), slice(0, len(hidden)))


class PackedBackbone(_Steady):
    """In front of the class of the body; stands in for `hiper.learning.decoder.Backbone`."""

    shape: LibraryShape
    blocks_name: str
    is_checkpointing: bool
    _modules: dict[str, Any]

    @property
    def layers(self) -> Any:
        found: Any = self
        for name in self.blocks_name.split("."):
            found = found._modules[name]  # not by attribute: this property may hide one
        return found

    def keep_first(self, count: int) -> None:
        """Leave out the layers after the first `count`; the final norm then follows the last that is left."""
        self.set_submodule(self.blocks_name, self.layers[:count])  # type: ignore[attr-defined]
        self.shape = replace(self.shape, num_hidden_layers=count)

    @property
    def checkpointing(self) -> bool:
        return self.is_checkpointing

    @checkpointing.setter
    def checkpointing(self, wanted: bool) -> None:
        if wanted:
            self.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[attr-defined]
        for layer in self.layers:
            layer.training = wanted  # the layer alone, whose dropout stays off: the library asks for it
        self.is_checkpointing = wanted

    def forward(self, *arguments: Any, given: Tensor | None = None, **options: Any) -> Any:
        """`given`: hidden states that are there already, for the sake of what follows them."""
        if given is not None:
            return _output(given)
        return super().forward(*arguments, **options)  # type: ignore[misc]

    def hidden(self, packing: Packing, cache_room: int | None = None) -> tuple[Tensor, KeyValueCache | None]:
        """As `Backbone.hidden`."""
        rows = _Reading(packing, cache_room)
        hidden = self._computed(packing.tokens, packing.position, rows)[packing.wanted]
        return hidden, None if cache_room is None else rows.cache(len(self.layers))

    def extend(self, chunks: Sequence[Sequence[int]], cache: KeyValueCache) -> tuple[Tensor, list[int]]:
        """As `Backbone.extend`."""
        lengths = [len(chunk) for chunk in chunks]
        packing = Packing.of(chunks, [[]] * len(chunks), cache.length.device)
        rows = _Extending(packing, cache)
        hidden = self._computed(packing.tokens, rows.position, rows)
        cache.length = cache.length + packing.length
        return hidden, lengths

    def _computed(self, tokens: Tensor, position: Tensor, rows: Any) -> Tensor:
        call: Any = self
        output = call(input_ids=tokens[None], position_ids=position[None], use_cache=False, packed_rows=rows)
        hidden: Tensor = output.last_hidden_state[0]
        return hidden


def _output(hidden: Tensor) -> Any:
    from transformers.modeling_outputs import MoeModelOutputWithPast

    return MoeModelOutputWithPast(last_hidden_state=hidden)


# ---- attention


@dataclass(frozen=True)
class _Rule:
    """What a layer's class says of its attention: `scale` of the scores, how many tokens back are seen (`window`),
    where scores are bounded (`cap`)."""

    scale: float | None
    window: int | None
    cap: float | None


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, packed_rows: Any = None, **said: Any
) -> tuple[Tensor, None]:
    """The library's interface: [1, heads, total, size] each → [1, total, heads, size]."""
    if packed_rows is None:
        raise ValueError("its class does not hand down what its attention needs")
    if unknown := [name for name in ("s_aux", "position_bias", "indices") if said.get(name) is not None]:
        raise ValueError(f"its attention depends on {unknown[0]}")
    if "sliding_window" not in said and _windowed(module):
        raise ValueError("its class keeps its sliding window to itself")
    rule = _Rule(said.get("scaling"), said.get("sliding_window"), said.get("softcap"))
    # under autocast the rotated ones are float32
    flat = (part[0].transpose(0, 1).to(value.dtype) for part in (query, key, value))
    return packed_rows.attend(module.layer_idx, *flat, rule)[None], None


def _windowed(module: Any) -> bool:
    """Whether the layer's tokens see only the last ones, by the configuration."""
    config = module.config
    kinds = getattr(config, "layer_types", None)
    return bool(getattr(config, "sliding_window", None)) and (not kinds or "sliding" in kinds[module.layer_idx])


def _attended(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, rule: _Rule) -> Tensor:
    """q [s, heads, n, size], k and v [s, kv_heads, m, size], `seen` [s or 1, n, m], None: causal, n == m."""
    grouped = q.shape[1] != k.shape[1]
    if rule.cap is None:
        mask = None if seen is None else seen[:, None]
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=rule.scale, enable_gqa=grouped
        )
    if seen is None:
        seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()[None]
    if grouped:
        k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], 1) for part in (k, v))
    scores = q @ k.transpose(2, 3) * (q.shape[3] ** -0.5 if rule.scale is None else rule.scale)
    scores = (scores / rule.cap).tanh() * rule.cap
    weights = scores.masked_fill(~seen[:, None], float("-inf")).softmax(-1, dtype=torch.float32)
    return weights.to(q.dtype) @ v


class _Reading:
    """Whole sequences, packed; keys and values are kept if there is to be a cache."""

    def __init__(self, packing: Packing, cache_room: int | None) -> None:
        self.packing, self.keeps, self.longest = packing, cache_room is not None, packing.longest
        self.capacity = self.longest + (cache_room or 0)
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: _Rule) -> Tensor:
        packed = rule.cap is None and takes_packed(value)
        if self.keeps or not packed:
            keys, values = (self._padded(part, self.capacity) for part in (key, value))
            if self.keeps:
                self.kept[layer] = keys, values
        if packed:
            return attend_packed(query, key, value, self.packing.starts, self.longest, rule.scale, rule.window)
        seen = None
        if rule.window is not None and rule.window < self.longest:
            place = torch.arange(self.longest, device=key.device)
            back = place[:, None] - place
            seen = ((back >= 0) & (back < rule.window))[None]
        k, v = keys[:, :, : self.longest], values[:, :, : self.longest]
        attended = _attended(self._padded(query, self.longest), k, v, seen, rule)
        return attended[self.packing.sequence, :, self.packing.position]

    def _padded(self, flat: Tensor, width: int) -> Tensor:
        out = flat.new_zeros(len(self.packing.length), flat.shape[1], width, flat.shape[2])
        out[self.packing.sequence, :, self.packing.position] = flat
        return out

    def cache(self, layers: int) -> KeyValueCache:
        if sorted(self.kept) != [*range(layers)]:
            raise ValueError("some of its layers have no attention of their own")
        keys, values = ([self.kept[number][part] for number in range(layers)] for part in (0, 1))
        return KeyValueCache(keys, values, self.packing.length.clone())


class _Extending:
    """A chunk of tokens for each row of a cache, to which their keys and values are added."""

    def __init__(self, packing: Packing, cache: KeyValueCache) -> None:
        self.rows, self.slot, self.cache = packing.sequence, packing.position, cache
        self.position = cache.length[self.rows] + self.slot
        self.count, self.width = len(packing.length), packing.longest
        self.reach = int(self.position.max()) + 1  # the room behind the longest row is not read
        places = torch.arange(self.width, device=self.rows.device)
        self.back = (cache.length[:, None] + places)[:, :, None] - torch.arange(self.reach, device=self.rows.device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, rule: _Rule) -> Tensor:
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[self.rows, :, self.position], values[self.rows, :, self.position] = key, value
        q = query.new_zeros(self.count, query.shape[1], self.width, query.shape[2])
        q[self.rows, :, self.slot] = query
        seen = self.back >= 0
        if rule.window is not None:
            seen = seen & (self.back < rule.window)
        attended = _attended(q, keys[:, :, : self.reach], values[:, :, : self.reach], seen, rule)
        return attended[self.rows, :, self.slot]
