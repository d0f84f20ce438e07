"""Peak memory of one GPU in training: what stays all the time, and what each part of a step adds to it."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.shapes import Models, ModelShape, Weights, cache_bytes, parameters

# Bytes per vocabulary entry of a read-out while the loss is differentiated: 8 are kept (float32 log probabilities, and
# their exponentials for the entropy), three more float32 rows are there for a moment.
LOGIT_BYTES = 20
LOGITS = 1 << 26  # numbers that are there at once, 256 MiB in float32: what small models read is far less


@dataclass(frozen=True)
class Precision:
    """Bytes per parameter of a trained model: `weights` the passes read, `copies` that the passes make for a moment,
    `gradients`, `optimizer` (Adam's two moments and, for bfloat16 weights, the float32 ones they are made from)."""

    weights: int
    copies: int
    gradients: int
    optimizer: int


AUTOCAST = Precision(weights=4, copies=2, gradients=4, optimizer=8)  # float32 parameters, bfloat16 products
MIXED = Precision(weights=2, copies=0, gradients=4, optimizer=12)  # DeepSpeed's bfloat16, gradients summed in float32


@dataclass(frozen=True)
class Layout:
    """How a run lies on its GPUs. ZeRO stage 1 shares out the optimiser's state, 2 the gradients too, 3 the weights
    too; 0 shares nothing out. Offloading keeps the optimiser's state and the gradients in the host's memory."""

    precision: Precision
    gpus: int
    zero_stage: int
    offload: bool
    checkpointing: bool

    def state(self, weights: Weights) -> float:
        """Bytes on one GPU of a network in training. The passes copy what is frozen like what is trained."""
        parts = self.precision
        added = 0.0 if self.offload else parts.gradients / self._shared(2) + parts.optimizer / self._shared(1)
        return self.frozen(weights.whole) + weights.whole * parts.copies + weights.trained * added

    def frozen(self, count: float) -> float:
        """Bytes on one GPU of a model that is only read."""
        return count * (self.precision.weights / self._shared(3))

    def host(self, count: float) -> float:
        """Bytes of the host's memory for what is offloaded, all GPUs together; there only ZeRO can offload."""
        return count * float(self.precision.gradients + self.precision.optimizer) if self.offload else 0.0

    def _shared(self, stage: int) -> int:
        return self.gpus if self.zero_stage >= stage else 1


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU. `generation` and `training` are never there at the same time, unless the sampler `stays`; both
    come on top of the rest."""

    actor: float
    critic: float
    reference: float
    training: float
    generation: float
    stays: bool = False

    @property
    def resident(self) -> float:
        return self.actor + self.critic + self.reference

    @property
    def peak(self) -> float:
        both = self.training + self.generation
        return self.resident + (both if self.stays else max(self.training, self.generation))


def rows_at_once(vocabulary: int) -> int:
    """Read-outs whose logits are there together; those of more are computed in chunks, and again for the backward
    pass."""
    return max(1, LOGITS // vocabulary)


def activation_bytes(shape: ModelShape, checkpointing: bool, rank: int = 0) -> float:
    """Bytes per packed token that a forward pass of this project's decoder keeps for its backward pass, under bfloat16
    autocast; with checkpointing each layer keeps its float32 input alone, and one layer at a time is computed again.

    A layer keeps four float32 rows (inputs and outputs of its norms: 16·hidden), eight bfloat16 rows (inputs of the
    products: 12·hidden; queries, attention's output: 4·heads·head_size), keys and values (4·kv_heads·head_size) and
    four rows of the MLP (8·intermediate). With an adapter of `rank` on each of the seven products there are seven rows
    more (14·rank), and two less (8·hidden): frozen norms need not keep what they scale.
    """
    keys = shape.num_key_value_heads * shape.head_size
    adapters = 14.0 * rank - 8.0 * shape.hidden_size if rank else 0.0
    layer = 28.0 * shape.hidden_size + 4.0 * (shape.query_size + keys) + 8.0 * shape.intermediate_size + adapters
    return (
        4.0 * shape.hidden_size * shape.num_hidden_layers + layer if checkpointing else layer * shape.num_hidden_layers
    )


def playing_bytes(shape: ModelShape, rows: int, room: int, copy_bytes: int, value_bytes: int) -> float:
    """What generating `rows` answers at once takes, each with a cache of `room` tokens, and the sampler's own copy of
    the weights (bytes per weight; 0: it uses the trainer's)."""
    return float(parameters(shape) * copy_bytes + rows * room * cache_bytes(shape, value_bytes))


def estimate(
    models: Models, layout: Layout, budget: int, read_out: float, generation: float, stays: bool = False
) -> Memory:
    """`budget`: tokens of a micro-batch; `read_out`: those of them with logits; `generation`: bytes, see
    `playing_bytes`; `stays`: also while the trainer works."""
    shape = models.shape
    # a class of the library gives all its logits at once
    rows = read_out if shape.counted is not None else min(read_out, rows_at_once(shape.vocab_size))
    logits = LOGIT_BYTES * rows * shape.vocab_size
    return Memory(
        actor=layout.state(models.actor),
        critic=layout.state(models.critic),
        reference=layout.frozen(parameters(shape)) if models.reference else 0.0,
        training=budget * activation_bytes(shape, layout.checkpointing, models.rank) + logits,
        generation=generation,
        stays=stays,
    )
