"""The decoder of Llama, Mistral, Qwen2 and Qwen3 without padding: packed sequences, hidden states only where they are
asked for, an explicit KV cache. What differs between these families is in `DecoderShape`.

Parameters carry the names of the classes of `transformers`, so a model folder written here loads with
`AutoModelForCausalLM` and the other way round (tested to agree). Two things make it faster than the
padded forward of the library on short responses after long prompts: linear layers see no padding, and the last layer
computes queries and the MLP only at the positions whose hidden state is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hiper.learning import elementwise
from hiper.learning.blocked_attention import attend_blocked, takes_blocked
from hiper.learning.packed_attention import attend_packed, takes_packed
from hiper.learning.rotary import Scaling, frequencies
from hiper.planning.memory import rows_at_once
from hiper.planning.shapes import ModelShape

Each = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""Of the float32 logits [n, vocabulary] at these rows of the hidden states: a number for each row [n] (or of none [0]),
and one for all together []."""

FEWEST_BLOCKED = 32  # tokens of a chunk: for the few of an answer, one product over all rows is faster


@dataclass(frozen=True)
class DecoderShape(ModelShape):
    """All that a `config.json` says of the computation. `scaling`: of the rotary embeddings."""

    max_position_embeddings: int
    rope_theta: float
    rms_norm_eps: float
    scaling: Scaling | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Packing:
    """How sequences lie in one flat row of tokens, and which positions are wanted.

    `tokens` [total], `sequence` and `position` [total]: sequence number and position of each token, `length`
    [sequences], `starts` [sequences + 1], int32: where each sequence begins, and the end. `wanted` [wanted]: indices
    into the flat row, ascending, whose hidden states `Decoder.hidden` returns; `place` [wanted]: each one's number
    among those wanted of its sequence, from 0 on. The `longest` sequence's length, and the `most` that are wanted of
    one, are known here, so that no layer asks a GPU for them.
    """

    tokens: Tensor
    sequence: Tensor
    position: Tensor
    length: Tensor
    starts: Tensor
    wanted: Tensor
    place: Tensor
    longest: int
    most: int

    @staticmethod
    def of(sequences: Sequence[Any], wanted: Sequence[Any], device: torch.device | str = "cpu") -> Packing:
        """Pack integer arrays [length_i]; `wanted[i]` are ascending positions inside sequence i (-1 is not allowed)."""
        lengths = np.array([len(s) for s in sequences], dtype=np.int64)
        starts = np.cumsum(lengths) - lengths
        tokens = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
        sequence = np.repeat(np.arange(len(sequences)), lengths)
        position = np.arange(len(tokens)) - starts[sequence]
        flat = np.concatenate([np.asarray(w, dtype=np.int64) + s for w, s in zip(wanted, starts, strict=True)])
        counts = np.array([len(w) for w in wanted], dtype=np.int64)
        place = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = np.concatenate([starts, [len(tokens)]]).astype(np.int32)
        arrays = (tokens, sequence, position, lengths, ends, flat, place)
        there = (torch.from_numpy(array).to(device) for array in arrays)
        return Packing(*there, longest=int(lengths.max()), most=int(counts.max()))


class KeyValueCache:
    """Keys and values of every layer, `[layer][sequences, heads, capacity, head_size]`; rows fill from the left."""

    def __init__(self, keys: list[Tensor], values: list[Tensor], length: Tensor) -> None:
        self.keys, self.values, self.length = keys, values, length

    def select(self, rows: Sequence[int]) -> KeyValueCache:
        """These rows, in this order. The memory is shared, so this cache must not be used afterwards: only rows that
        change their place are copied."""
        moved = [(place, int(row)) for place, row in enumerate(rows) if place != row]
        for tensor in (*self.keys, *self.values, self.length) if moved else ():
            places, sources = zip(*moved, strict=True)
            tensor[list(places)] = tensor[list(sources)]
        count = len(rows)
        return KeyValueCache([k[:count] for k in self.keys], [v[:count] for v in self.values], self.length[:count])


class Linear(nn.Linear):
    """What it is made with is arbitrary: the weights of a decoder come from a file or from `Decoder.initialize`, and to
    draw others before would take longer than to read them."""

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """As `Linear`."""

    def reset_parameters(self) -> None:
        pass


class Norm(nn.RMSNorm):
    """With an `update` to add to x first: the sum, and its norm."""

    def forward(self, x: Tensor, update: Tensor | None = None) -> Any:
        if update is None:
            return elementwise.rms_norm(x, self.weight, self.eps)
        return elementwise.add_and_norm(x, update, self.weight, self.eps)


class Output(Linear):
    """The output matrix. What is made of the logits of many rows is made within one call that gives one tensor: that is
    how DeepSpeed counts when sharded weights are gathered, which all processes must do equally often, however many rows
    each of them has."""

    def forward(self, hidden: Tensor, each: Each | None = None) -> Tensor:
        if each is None:
            return super().forward(hidden)
        size = rows_at_once(self.out_features)
        if len(hidden) <= size:
            single, total = each(super().forward(hidden).float(), slice(0, len(hidden)))
            return torch.cat((single, total[None]))

        def read(part: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            return each(F.linear(part, self.weight).float(), rows)

        chunks = [slice(start, min(start + size, len(hidden))) for start in range(0, len(hidden), size)]
        parts = [checkpoint(read, hidden[c], c, use_reentrant=False, preserve_rng_state=False) for c in chunks]
        return torch.cat((*(single for single, _ in parts), torch.stack([total for _, total in parts]).sum()[None]))


class Attention(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = shape.num_attention_heads, shape.num_key_value_heads, shape.head_size
        self.q_proj = Linear(shape.hidden_size, self.heads * self.size, bias=shape.qkv_bias)
        self.k_proj = Linear(shape.hidden_size, self.kv_heads * self.size, bias=shape.qkv_bias)
        self.v_proj = Linear(shape.hidden_size, self.kv_heads * self.size, bias=shape.qkv_bias)
        self.o_proj = Linear(self.heads * self.size, shape.hidden_size, bias=shape.output_bias)
        if shape.qk_norm:
            self.q_norm = Norm(self.size, eps=shape.rms_norm_eps)
            self.k_norm = Norm(self.size, eps=shape.rms_norm_eps)
        self.normed = shape.qk_norm

    def queries(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        queries = self.q_proj(x).view(-1, self.heads, self.size)
        return elementwise.rotate(self.q_norm(queries) if self.normed else queries, *angles)

    def keys_values(self, x: Tensor, angles: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        keys = self.k_proj(x).view(-1, self.kv_heads, self.size)
        keys = elementwise.rotate(self.k_norm(keys) if self.normed else keys, *angles)
        return keys, self.v_proj(x).view(-1, self.kv_heads, self.size)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """q [s, heads, n, size], k and v [s, kv_heads, m, size]; mask None means causal with n == m."""
        if mask is None and takes_blocked(v):
            return attend_blocked(q, k, v)
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.heads != self.kv_heads
        )

    def attend_cached(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Few queries against a cache: q [s, heads, n, size], k and v [s, kv_heads, m, size], mask [s, n, m] →
        [s, heads, n, size].

        Two batched products instead of the fused kernel, which is about half as fast on the CPU for so few queries.
        """
        rows, heads, count, size = q.shape
        grouped = q.reshape(rows, self.kv_heads, -1, size)
        scores = (grouped @ k.transpose(2, 3)).view(rows, heads, count, -1) * size**-0.5
        weights = scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1)
        return (weights.view(rows, self.kv_heads, -1, k.shape[2]) @ v).view(rows, heads, count, size)

    def attend_blocked_rows(
        self, q: Tensor, counts: Sequence[int], keys: Tensor, values: Tensor, ends: Sequence[int]
    ) -> Tensor:
        """Many queries against a cache, row by row, so that nothing is padded: q [tokens, heads, size], of which the
        first `counts[0]` are the last of the `ends[0]` positions of row 0 in keys and values [s, kv_heads, m, size],
        and so on → [tokens, heads, size]."""
        parts = [
            attend_blocked(some.transpose(0, 1)[None], keys[row : row + 1, :, :end], values[row : row + 1, :, :end])[0]
            for row, (some, end) in enumerate(zip(q.split(list(counts)), ends, strict=True))
        ]
        return torch.cat(parts, dim=1).transpose(0, 1)


class MLP(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden_size, shape.intermediate_size, bias=shape.mlp_bias)
        self.up_proj = Linear(shape.hidden_size, shape.intermediate_size, bias=shape.mlp_bias)
        self.down_proj = Linear(shape.intermediate_size, shape.hidden_size, bias=shape.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(elementwise.gated(self.gate_proj(x), self.up_proj(x)))


class Layer(nn.Module):
    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = MLP(shape)
        self.input_layernorm = Norm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden_size, eps=shape.rms_norm_eps)

    def finish(self, residual: Tensor, attended: Tensor) -> Tensor:
        """Output projection and MLP, both residual; `attended` [tokens, heads, size]."""
        x, normed = self.post_attention_layernorm(residual, self.self_attn.o_proj(attended.flatten(1)))
        return x + self.mlp(normed)


class Backbone(nn.Module):
    """Token embeddings, layers, final norm (`model.` in the library's parameter names)."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, eps=shape.rms_norm_eps)
        self.checkpointing = False  # in training, keep each layer's input only and compute the rest again

    def keep_first(self, count: int) -> None:
        """Leave out the layers after the first `count`; the final norm then follows the last that is left."""
        self.layers = self.layers[:count]
        self.shape = replace(self.shape, num_hidden_layers=count)

    def _angles(self, position: Tensor) -> tuple[Tensor, Tensor]:
        size, scaling = self.shape.head_size, self.shape.scaling
        if scaling is not None:
            turns, factor = frequencies(size, self.shape.rope_theta, scaling, position.device)
            angle = position[:, None].float() * turns
            return (angle.cos() * factor)[:, None, :], (angle.sin() * factor)[:, None, :]
        exponents = torch.arange(0, size, 2, dtype=torch.float32, device=position.device) / size
        angle = position[:, None].float() / self.shape.rope_theta**exponents
        return angle.cos()[:, None, :], angle.sin()[:, None, :]

    def hidden(self, packing: Packing, cache_room: int | None = None) -> tuple[Tensor, KeyValueCache | None]:
        """Hidden states after the final norm at the wanted positions [wanted, hidden]; with `cache_room`, also a KV
        cache holding every token and room for that many more."""
        angles = self._angles(packing.position)
        x = self.embed_tokens(packing.tokens)
        kept: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(self.layers):
            through = partial(self._through, layer, packing, angles, cache_room, number + 1 == len(self.layers))
            if self.checkpointing and cache_room is None and torch.is_grad_enabled():
                x = checkpoint(lambda x, through=through: through(x)[0], x, use_reentrant=False)
                continue
            x, cached = through(x)
            kept += [] if cached is None else [cached]
        keys, values = ([pair[part] for pair in kept] for part in (0, 1))
        cache = KeyValueCache(keys, values, packing.length.clone()) if cache_room is not None else None
        return self.norm(x), cache

    def _through(
        self,
        layer: Any,
        packing: Packing,
        angles: tuple[Tensor, Tensor],
        cache_room: int | None,
        last: bool,
        x: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """One layer: what comes out of it, of the last one at the wanted positions only; with `cache_room`, keys and
        values with room for that many tokens more."""
        longest = packing.longest

        def padded(flat: Tensor, width: int) -> Tensor:
            out = flat.new_zeros(len(packing.length), flat.shape[1], width, flat.shape[2])
            out[packing.sequence, :, packing.position] = flat
            return out

        normed = layer.input_layernorm(x)
        flat = layer.self_attn.keys_values(normed, angles)
        packed = not last and takes_packed(flat[1])
        cached = None
        if not packed or cache_room is not None:
            cached = padded(flat[0], longest + (cache_room or 0)), padded(flat[1], longest + (cache_room or 0))
        if packed:
            queries = layer.self_attn.queries(normed, angles)
            attended = attend_packed(queries, *flat, packing.starts, longest)
            return layer.finish(x, attended), cached
        assert cached is not None
        k, v = cached[0][:, :, :longest], cached[1][:, :, :longest]
        kept = None if cache_room is None else cached
        if last:
            return self._last(layer, packing, x, normed, angles, (k, v)), kept
        q = padded(layer.self_attn.queries(normed, angles), longest)
        attended = layer.self_attn.attend(q, k, v, None)[packing.sequence, :, packing.position]
        return layer.finish(x, attended), kept

    def _last(
        self,
        layer: Any,
        packing: Packing,
        x: Tensor,
        normed: Tensor,
        angles: tuple[Tensor, Tensor],
        keys_values: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The last layer at the wanted positions only."""
        rows, position = packing.sequence[packing.wanted], packing.position[packing.wanted]
        k, v = keys_values
        slot, width = packing.place, packing.most
        q_flat = layer.self_attn.queries(normed[packing.wanted], tuple(a[packing.wanted] for a in angles))
        q = q_flat.new_zeros(len(packing.length), width, *q_flat.shape[1:])
        q[rows, slot] = q_flat
        # unused query slots look at position 0: any finite result will do, it is never read
        limit = position.new_zeros(len(packing.length), width)
        limit[rows, slot] = position
        mask = torch.arange(k.shape[2], device=k.device) <= limit[:, None, :, None]
        attended = layer.self_attn.attend(q.transpose(1, 2), k, v, mask).transpose(1, 2)[rows, slot]
        return layer.finish(x[packing.wanted], attended)

    def extend(self, chunks: Sequence[Sequence[int]], cache: KeyValueCache) -> tuple[Tensor, list[int]]:
        """Append a chunk of tokens to every row of the cache.

        Returns the hidden states after every new token [total, hidden], row by row, and the chunks' lengths.
        """
        lengths = [len(chunk) for chunk in chunks]
        packing = Packing.of(chunks, [[]] * len(chunks), cache.length.device)
        rows, slot, width = packing.sequence, packing.position, max(lengths)
        position = cache.length[rows] + slot
        angles = self._angles(position)
        places = torch.arange(width, device=rows.device)
        reach = int(position.max()) + 1  # the room behind the longest row is not read
        mask = torch.arange(reach, device=rows.device) <= (cache.length[:, None] + places)[:, :, None]
        blocked = width >= FEWEST_BLOCKED and takes_blocked(cache.values[0])
        ends = (cache.length + packing.length).tolist() if blocked else []
        x = self.embed_tokens(packing.tokens)
        for layer, keys, values in zip(self.layers, cache.keys, cache.values, strict=True):
            normed = layer.input_layernorm(x)
            keys[rows, :, position], values[rows, :, position] = layer.self_attn.keys_values(normed, angles)
            flat = layer.self_attn.queries(normed, angles)
            if ends:
                attended = layer.self_attn.attend_blocked_rows(flat, lengths, keys, values, ends)
            else:
                q = flat.new_zeros(len(chunks), flat.shape[1], width, flat.shape[2])
                q[rows, :, slot] = flat
                every = layer.self_attn.attend_cached(q, keys[:, :, :reach], values[:, :, :reach], mask)
                attended = every[rows, :, slot]
            x = layer.finish(x, attended)
        cache.length = cache.length + packing.length
        return self.norm(x), lengths


class Decoder(nn.Module):
    """A causal language model, made without weights; `logits` of hidden states are computed by the caller where
    needed."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Backbone(shape)
        self.lm_head = Output(shape.hidden_size, shape.vocab_size, bias=False)
        if shape.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def initialize(self, generator: torch.Generator, deviation: float = 0.05) -> None:
        """Normal weights of standard deviation `deviation`, zero biases, unit norms.

        The library's 0.02 suits wide models; at a width of about a hundred 0.05 learns faster (after a minute of SFT on
        one core the held-out loss of the demo's demonstrations was 0.104 instead of 0.154).
        """
        for name, parameter in self.named_parameters():
            with torch.no_grad():
                if name.endswith("bias"):
                    parameter.zero_()
                elif "norm" in name:
                    parameter.fill_(1.0)
                else:
                    parameter.normal_(0.0, deviation, generator=generator)

    def logits(self, hidden: Tensor) -> Tensor:
        """[n, hidden] → float32 [n, vocabulary]."""
        return self.lm_head(hidden).float()

    def over_logits(self, hidden: Tensor, each: Each) -> tuple[Tensor, Tensor]:
        """What `each` makes of the logits, rows one after the other and sums added up. More than `rows_at_once` rows of
        logits are never there together, not in a backward pass either, which computes those of each chunk again."""
        made = self.lm_head(hidden, each)
        single, total = made.split([len(made) - 1, 1])
        return single, total[0]
