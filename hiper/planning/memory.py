"""Peak memory of one GPU in training: what stays all the time, and what each part of a step adds to it."""

from __future__ import annotations

from dataclasses import dataclass

from hiper.planning.shapes import ModelShape, backbone_parameters, cache_bytes, parameters

# Bytes per read-out token and vocabulary entry while the loss is differentiated: 8 are kept (float32 log probabilities,
# and their exponentials for the entropy), three more float32 rows are there for a moment.
LOGIT_BYTES = 20


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
    too; 0 shares nothing out. Offloading keeps the optimiser's state in the host's memory."""

    precision: Precision
    gpus: int
    zero_stage: int
    offload: bool
    checkpointing: bool

    def state(self, count: float) -> float:
        """Bytes on one GPU of a trained model of `count` parameters."""
        parts = self.precision
        weights = parts.weights / self._shared(3) + parts.copies
        return count * (weights + parts.gradients / self._shared(2) + self._optimizer())

    def frozen(self, count: float) -> float:
        """Bytes on one GPU of a model that is only read."""
        return count * (self.precision.weights / self._shared(3))

    def host(self, count: float) -> float:
        """Bytes of the host's memory for an offloaded optimiser, all GPUs together."""
        return count * self.precision.optimizer * (self.gpus if self._shared(1) == 1 else 1) if self.offload else 0.0

    def _optimizer(self) -> float:
        return 0.0 if self.offload else self.precision.optimizer / self._shared(1)

    def _shared(self, stage: int) -> int:
        return self.gpus if self.zero_stage >= stage else 1


@dataclass(frozen=True)
class Models:
    """Which networks a run holds besides the actor."""

    shape: ModelShape
    reference: bool
    own_critic: bool  # a backbone of its own, trained


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU. `generation` and `training` are never there at the same time; both come on top of the rest."""

    actor: float
    critic: float
    reference: float
    training: float
    generation: float

    @property
    def resident(self) -> float:
        return self.actor + self.critic + self.reference

    @property
    def peak(self) -> float:
        return self.resident + max(self.training, self.generation)


def activation_bytes(shape: ModelShape, checkpointing: bool) -> float:
    """Bytes per packed token that a forward pass of this project's decoder keeps for its backward pass, under bfloat16
    autocast; with checkpointing each layer keeps its float32 input alone, and one layer at a time is computed again.

    A layer keeps four float32 rows (inputs and outputs of its norms: 16·hidden), eight bfloat16 rows (inputs of the
    products, queries, attention's output: 16·hidden), keys and values (4·kv_heads·head_size) and four rows of the MLP
    (8·intermediate).
    """
    keys = shape.num_key_value_heads * shape.head_size
    layer = 32.0 * shape.hidden_size + 4.0 * keys + 8.0 * shape.intermediate_size
    return (
        4.0 * shape.hidden_size * shape.num_hidden_layers + layer if checkpointing else layer * shape.num_hidden_layers
    )


def playing_bytes(shape: ModelShape, rows: int, room: int, copy_bytes: int, value_bytes: int) -> float:
    """What generating `rows` answers at once takes, each with a cache of `room` tokens, and the sampler's own copy of
    the weights (bytes per weight; 0: it uses the trainer's)."""
    return float(parameters(shape) * copy_bytes + rows * room * cache_bytes(shape, value_bytes))


def estimate(models: Models, layout: Layout, budget: int, read_out: float, generation: float) -> Memory:
    """`budget`: tokens of a micro-batch; `read_out`: those of them with logits; `generation`: bytes, see
    `playing_bytes`."""
    shape, total = models.shape, parameters(models.shape)
    critic = backbone_parameters(shape) if models.own_critic else 0
    logits = LOGIT_BYTES * read_out * shape.vocab_size
    return Memory(
        actor=layout.state(total),
        critic=layout.state(critic),
        reference=layout.frozen(total) if models.reference else 0.0,
        training=budget * activation_bytes(shape, layout.checkpointing) + logits,
        generation=generation,
    )
