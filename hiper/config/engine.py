"""Settings of what trains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hiper.declarations import Before, ReadBy
from hiper.errors import shown
from hiper.fields import Count, Settings


def _switch(value: Any) -> Any:
    """One message for both; pydantic has one for each."""
    if value == "auto" or type(value) is bool:
        return value
    raise ValueError(f"{shown(value)} must be 'auto', true or false")


SwitchOrAuto = Annotated[bool | Literal["auto"], BeforeValidator(_switch)]


class Engine(Settings):
    """What trains: `local` is plain torch in one process; `deepspeed` shards training over `gpus` times `nodes`
    processes. Stages other than training run in one process with either."""

    name: Literal["local", "deepspeed"]
    device: Annotated[Literal["cpu", "cuda"], ReadBy("warmstart", "evaluate")]
    threads: Annotated[int, Field(ge=1, le=1024), ReadBy("warmstart", "evaluate")]  # of each process
    # of matrix products in training; what the optimiser updates stays float32
    dtype: Annotated[Literal["float32", "bfloat16"], ReadBy("warmstart", "evaluate")]
    # of a GPU's training, at the price of slower operations; a CPU always gives the same bytes, vLLM never promises to
    deterministic: Annotated[bool, ReadBy("warmstart", "evaluate"), Before(True)]
    # norms, rotary embeddings and gates of this project's decoder by torch's compiler, which rounds differently; auto:
    # on GPUs. Models that a class of transformers computes stay as they are
    compile: Annotated[SwitchOrAuto, ReadBy("warmstart", "evaluate"), Before("auto")]
    gpus: Count  # per node: as many processes, each with a GPU of its own (with device cpu, with `threads` cores)
    nodes: Count
    # keep each layer's input only and compute the rest again: less memory, a third more time; auto: on GPUs where, by
    # counting, there is no room for the rest
    gradient_checkpointing: SwitchOrAuto
    zero_stage: Literal[0, 1, 2, 3]  # sharded: 1 optimiser states, 2 and gradients, 3 and weights; 0 (local): nothing
    offload_optimizer: bool  # masters and optimiser states in the node's main memory; the optimiser's step runs there

    @property
    def processes(self) -> int:
        return self.gpus * self.nodes

    @property
    def compiles(self) -> bool:
        return self.device == "cuda" if self.compile == "auto" else self.compile

    @model_validator(mode="after")
    def sharding_fits(self) -> Engine:
        if self.name == "local" and (self.processes > 1 or self.zero_stage or self.offload_optimizer):
            raise ValueError(
                "engine local trains in one process and shards nothing: it needs gpus: 1, nodes: 1, zero_stage: 0 and "
                "offload_optimizer: false; for anything else choose engine deepspeed"
            )
        if self.name == "deepspeed" and not self.zero_stage:
            raise ValueError("zero_stage = 0 is for engine local; engine deepspeed shards: choose 1, 2 or 3")
        return self
