"""The stages, in the order that gives the most evidence first, each with what it measures and its limit in seconds."""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """`module` has a function of the stage's name that measures it: `dev.gpu.bare` needs torch and numpy alone."""

    what: str
    limit: float
    module: str = "dev.gpu.bare"


WHOLE = "dev.gpu.whole"

# The sum of the limits is twelve minutes; starting a process is in each.
STAGES = {
    "machine": Stage("card, driver, versions", 20),
    "products": Stage("matrix products at the model's shapes, copies", 30),
    "attention": Stage("attention alone, forward and backward: padded, by lengths, compiled", 60),
    "decoder": Stage("forward and backward of the decoder, eager and compiled: MFU", 60),
    "options": Stage("the same with deterministic operations, recomputed activations; the most expensive kernels", 60),
    "memory": Stage("peak memory of micro-batches against the plan's", 50),
    "read_outs": Stage("logits at few and many positions, in chunks and all at once", 30),
    "large": Stage("forward and backward of the larger model, activations recomputed", 80),
    "update": Stage("the updates of actor and critic as training makes them", 90, WHOLE),
    "sharded": Stage("DeepSpeed in one process, all stages of ZeRO, against plain torch; state and load", 110, WHOLE),
    "pipeline": Stage("a tiny agent on generated games: demonstrations, warm start, RL", 130, WHOLE),
}
