"""What each process of a test does: `torchrun … deepspeed_worker.py FILE`. The JSON file says what, and
where results go.

`train` is a whole run; `learn` updates one learner on one made-up batch, with the engine that the settings name, and
`measure` does so with models from a folder and says how much memory that took.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pipeline import run_settings

from hiper.config import Lora, RunSettings
from hiper.learning import torch_setup
from hiper.learning.batches import TurnRow
from hiper.learning.critic import Critic, State
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.engines import make_engines
from hiper.learning.learner import Learner, Targets, build_heads
from hiper.learning.lora import adapt
from hiper.learning.processes import Processes, joined
from hiper.learning.training_engine import whole
from hiper.planning import memory
from hiper.records import write_json
from hiper.stages import checkpoint, training

SHAPE = DecoderShape(97, 32, 64, 3, 4, 2, True, 64, 10000.0, 1e-6)
READ_OUTS = {"high": "prompt", "low": "after_subgoal"}
TURNS = 9  # in mini-batches of 5 and 4 and micro-batches of a few, so that two processes seldom have equally many


def rows(random: np.random.Generator) -> list[TurnRow]:
    """Turns of 10 to 30 tokens; of some none is trained."""
    made = []
    for number in range(TURNS):
        prompt, response = int(random.integers(6, 20)), int(random.integers(4, 11))
        trained = random.random(response) < (0.0 if number == 3 else 0.7)
        made.append(
            TurnRow(
                tokens=random.integers(0, SHAPE.vocab_size, prompt + response).astype(np.int32),
                prompt_length=prompt,
                advantage=random.normal(size=response).astype(np.float32),
                trained=trained,
                chosen=trained | (random.random(response) < 0.5),
                logprob=(-4.5 + 0.1 * random.normal(size=response)).astype(np.float32),
                allowed=None,
            )
        )
    return made


def states(turns: list[TurnRow]) -> list[State]:
    """Each turn's state, read after its prompt and three tokens later."""
    return [
        State(
            row.tokens[: row.prompt_length + 3],
            row.prompt_length,
            (number, 0),
            {"prompt": np.array([row.prompt_length - 1]), "after_subgoal": np.array([row.prompt_length + 2])},
        )
        for number, row in enumerate(turns)
    ]


def targets(random: np.random.Generator) -> dict[str, Targets]:
    """The head `high` learns at every second turn alone: some micro-batches have nothing for it."""
    masks = {"high": np.arange(TURNS) % 2 == 1, "low": np.ones(TURNS, bool)}
    old, wanted = (random.normal(size=TURNS).astype(np.float32) for _ in range(2))
    return {head: Targets(old, wanted, mask) for head, mask in masks.items()}


def decoder(seed: int, lora: Lora | None = None) -> Decoder:
    made = Decoder(SHAPE)
    made.initialize(torch.Generator().manual_seed(seed))
    adapt(made, lora, [seed])
    return made


def make_learner(settings: RunSettings, processes: Processes) -> Learner:
    engines = make_engines(settings.engine, processes)
    lora, separate = settings.model.lora, settings.training.critic.backbone == "separate"
    actor = decoder(0, lora)
    actor.model.checkpointing = settings.engine.gradient_checkpointing is True
    heads = build_heads(SHAPE.hidden_size, sorted(READ_OUTS), settings.training.critic, [7])
    backbone = decoder(2, lora).model if separate else actor.model
    if (blocks := settings.training.critic.trunk_blocks) != "all":
        backbone.keep_first(blocks)
    critic = Critic(backbone, heads, READ_OUTS, settings.training.micro_batch_tokens, settings.engine.device)
    return Learner(actor, decoder(1).requires_grad_(False), critic, settings.training, None, 1.0, engines)


def learn(job: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """Updates number `first` to `last` on the same batch; returns their metrics, and what the first process has of the
    engines' states."""
    settings = run_settings(**job["changes"])
    torch_setup.prepare(settings.engine)
    learner, folder = make_learner(settings, processes), Path(job["checkpoints"])
    if job["first"]:
        loaded = checkpoint.load_latest(folder)
        assert loaded is not None and loaded[0] == job["first"]
        parts = checkpoint.parts_of(loaded[1])
        learner.actor_engine.load(whole([part["actor"] for part in parts]))
        learner.critic_engine.load(whole([part["critic"] for part in parts]))
    measured = []
    for number in range(job["first"], job["last"]):
        batch = rows(np.random.default_rng(0))
        read, wanted = states(batch), targets(np.random.default_rng(1))
        learner.critic.fill_features(read)
        values = {head: learner.critic.values(read, head, (TURNS, 1, 0)) for head in READ_OUTS}
        random = np.random.default_rng([2, number])
        metrics = learner.update_critic(read, wanted, random) | learner.update_actor(batch, random, 1e-3)
        measured.append(metrics | {f"values/{head}": array[:, 0].tolist() for head, array in values.items()})
    state = {"actor": learner.actor_engine.state(), "critic": learner.critic_engine.state()}
    with checkpoint.Writer(folder, processes) as writer:
        writer.begin(job["last"], state, {})
    merged = {name: weight.double().sum().item() for name, weight in learner.actor_engine.weights()}
    return {"metrics": measured, "merged": merged}


def measure(job: dict[str, Any], processes: Processes) -> dict[str, Any]:
    """A learner of three models of one folder. Returns how many bytes all processes together had more: at most while
    the models were read, once the learner was made, at most for its state, and with whole models on the first; and the
    sums of the actor's weights."""
    settings = run_settings(**job["changes"])
    engines, found = make_engines(settings.engine, processes), {}
    before = memory_now()
    actor, reference, critic = (engines.loaded(Path(job["folder"])) for _ in range(3))
    found["loading"] = memory_peak() - before
    heads = build_heads(actor.shape.hidden_size, sorted(READ_OUTS), settings.training.critic, [7]).to(engines.home)
    read = Critic(critic.model, heads, READ_OUTS, settings.training.micro_batch_tokens, settings.engine.device)
    learner = Learner(actor, reference.requires_grad_(False), read, settings.training, None, 1.0, engines)
    made = memory_now()
    found["learner"] = made - before
    state = (learner.actor_engine.state(), learner.critic_engine.state())
    found["state"] = memory_peak() - made
    gathered = (learner.actor_engine.weights(), learner.critic_weights())
    saved = [(name, weight.cpu()) for part in gathered for name, weight in part if processes.first]
    found["saved"] = memory_now() - made
    del state
    summed = processes.summed(np.array([*found.values()], dtype=np.float64)).tolist()
    actors = {name: weight.double().sum().item() for name, weight in saved[: len([*actor.parameters()])]}
    return dict(zip(found, summed, strict=True)) | {"weights": actors}


def memory_now() -> int:
    """Bytes that this process has in memory, what is free given back; from here on `memory_peak` counts."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def memory_peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def train(job: dict[str, Any]) -> None:
    """A run; with `dies`, it is cut off at the beginning of that iteration."""
    real = training.Trainer.iterate

    def iterate(self: training.Trainer, iteration: int) -> Any:
        if iteration == job.get("dies"):
            raise KeyboardInterrupt
        return real(self, iteration)

    training.Trainer.iterate = iterate  # type: ignore[method-assign]
    start, folder, data = (Path(job[name]) for name in ("start", "folder", "data"))
    training.run(run_settings(**job["changes"]), start, folder, data)


def main(path: Path) -> None:
    logging.basicConfig(level=logging.INFO)
    memory.LOGITS = 7 * SHAPE.vocab_size  # chunks of 7 read-outs: processes often have different numbers of them
    work = json.loads(path.read_text())
    if "train" in work:
        train(work["train"])
        return
    with joined(run_settings(**work["learn"][0]["changes"]).engine) as processes:
        for job in work["learn"]:
            found = measure(job, processes) if "folder" in job else learn(job, processes)
            if processes.first:
                write_json(Path(job["output"]), found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
