"""Sizes of language models, and what follows from them alone: parameters, bytes of cache, operations per token."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace


@dataclass(frozen=True)
class Counted:
    """Parameters of a model of any other layout, layer by layer, all experts of a mixture among them: of matrices
    (`products`) and others (`small`), rows and columns of linear modules together (`sides`); of what the `body` has
    beside layers and token embeddings, and the `head` beside its matrix."""

    products: tuple[int, ...]
    small: tuple[int, ...]
    sides: tuple[int, ...]
    body: int
    head: int


@dataclass(frozen=True)
class ModelShape:
    """What a `config.json` says of sizes; all counts below follow from it. Without what stands last it is Qwen2's
    layout; `head_dim` None: hidden / heads; `counted` takes the place of counting by the layout."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    tie_word_embeddings: bool
    head_dim: int | None = field(default=None, kw_only=True)
    qkv_bias: bool = field(default=True, kw_only=True)
    output_bias: bool = field(default=False, kw_only=True)
    mlp_bias: bool = field(default=False, kw_only=True)
    qk_norm: bool = field(default=False, kw_only=True)
    counted: Counted | None = field(default=None, kw_only=True)

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads if self.head_dim is None else self.head_dim

    @property
    def query_size(self) -> int:
        """Of all heads together."""
        return self.num_attention_heads * self.head_size

    @classmethod
    def of(cls, shape: ModelShape) -> ModelShape:
        """The sizes of a shape that says more."""
        return cls(**{field.name: getattr(shape, field.name) for field in fields(cls)})


# From the `config.json` of each model on the Hugging Face hub, or of the folder that `hiper model` makes.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B-Instruct": ModelShape(151_936, 896, 4_864, 24, 14, 2, True),
    "Qwen/Qwen2.5-1.5B-Instruct": ModelShape(151_936, 1_536, 8_960, 28, 12, 2, True),
    "Qwen/Qwen2.5-7B-Instruct": ModelShape(152_064, 3_584, 18_944, 28, 28, 4, False),
    "./models/smollm2_135m": ModelShape(49_152, 576, 1_536, 30, 9, 3, True, qkv_bias=False),
}


def embedding_parameters(shape: ModelShape) -> int:
    return shape.vocab_size * shape.hidden_size


def product_parameters(shape: ModelShape) -> int:
    """Weights of the layers' matrix products, without biases, norms and vocabulary.

    layers · hidden · (q and o: 2·heads·head_size + k and v: 2·kv_heads·head_size + gate, up, down: 3·intermediate)
    """
    if shape.counted is not None:
        return sum(shape.counted.products[: shape.num_hidden_layers])
    query, kv = shape.query_size, shape.num_key_value_heads * shape.head_size
    return shape.num_hidden_layers * shape.hidden_size * (2 * query + 2 * kv + 3 * shape.intermediate_size)


def backbone_parameters(shape: ModelShape) -> int:
    """All but the output matrix: embeddings, products, biases, two norms a layer (and those of queries and keys) and
    the last one."""
    large = embedding_parameters(shape) + product_parameters(shape)
    if shape.counted is not None:
        return large + sum(shape.counted.small[: shape.num_hidden_layers]) + shape.counted.body
    hidden, kv = shape.hidden_size, shape.num_key_value_heads * shape.head_size
    biases = shape.qkv_bias * (shape.query_size + 2 * kv) + shape.output_bias * hidden
    biases += shape.mlp_bias * (2 * shape.intermediate_size + hidden)
    norms = 2 * hidden + shape.qk_norm * 2 * shape.head_size
    return large + shape.num_hidden_layers * (biases + norms) + hidden


def parameters(shape: ModelShape) -> int:
    """All of the model; a tied output matrix is the embedding and counts once."""
    output = 0 if shape.tie_word_embeddings else embedding_parameters(shape)
    return backbone_parameters(shape) + output + (0 if shape.counted is None else shape.counted.head)


def largest_weight(shape: ModelShape) -> int:
    """Parameters of the largest matrix that is one by itself: of the vocabulary, an MLP or attention."""
    return shape.hidden_size * max(shape.vocab_size, shape.intermediate_size, shape.query_size)


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Of low-rank adapters on q, k, v, o, gate, up and down of every layer: rank · (inputs + outputs) each."""
    if shape.counted is not None:
        return rank * sum(shape.counted.sides[: shape.num_hidden_layers])
    hidden, kv, wide = shape.hidden_size, shape.num_key_value_heads * shape.head_size, shape.intermediate_size
    sides = 2 * (hidden + shape.query_size) + 2 * (hidden + kv) + 3 * (hidden + wide)
    return shape.num_hidden_layers * rank * sides


@dataclass(frozen=True)
class Weights:
    """Parameters of one network: those that an optimiser changes, and those that are only read."""

    trained: int = 0
    frozen: int = 0

    @property
    def whole(self) -> int:
        return self.trained + self.frozen


@dataclass(frozen=True)
class Models:
    """The networks of a run: an actor; with `own_critic` a critic with a backbone of its own, trained too, of all
    blocks or the first `critic_blocks`; with `reference` a frozen copy of the actor. `rank`: of the adapters that are
    trained in place of all weights; 0: none."""

    shape: ModelShape
    reference: bool
    own_critic: bool
    rank: int = 0
    critic_blocks: int | None = None

    @property
    def critic_shape(self) -> ModelShape:
        return self.shape if self.critic_blocks is None else replace(self.shape, num_hidden_layers=self.critic_blocks)

    @property
    def actor(self) -> Weights:
        return self._weights(self.shape, parameters(self.shape))

    @property
    def critic(self) -> Weights:
        shape = self.critic_shape
        return self._weights(shape, backbone_parameters(shape)) if self.own_critic else Weights()

    @property
    def trained(self) -> int:
        return self.actor.trained + self.critic.trained

    def _weights(self, shape: ModelShape, plain: int) -> Weights:
        return Weights(adapter_parameters(shape, self.rank), plain) if self.rank else Weights(plain)


def cache_bytes(shape: ModelShape, value_bytes: int = 2) -> int:
    """Bytes of keys and values that one token leaves: 2 · layers · kv_heads · head_size numbers. Grouped queries share
    the heads of keys and values, so those alone count."""
    return 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_size * value_bytes


def forward_operations(shape: ModelShape, tokens: float, context: float, read_out: float) -> float:
    """Floating-point operations of a forward pass over `tokens`, each of which attends to `context` others on average;
    logits at `read_out` of them.

    2 per weight and token, 4·heads·head_size per layer for each pair in attention (scores and weighted sum), and
    2·hidden·vocabulary for each read-out. A backward pass costs twice as much again.
    """
    attention = 4.0 * shape.num_hidden_layers * shape.query_size * context
    return tokens * (2.0 * product_parameters(shape) + attention) + 2.0 * read_out * embedding_parameters(shape)
