"""The stages that need the project's packages: updates, DeepSpeed, a whole run."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dev.bench.train import make_rows
from dev.gpu.bare import build, free, peak_of, rounded, shape_of, wait
from dev.gpu.worker import TINY, Report, Sizes
from hiper.compose import compose_run
from hiper.config import RunSettings, parse_run
from hiper.learning import torch_setup
from hiper.learning.critic import Critic, State
from hiper.learning.engines import make_engines
from hiper.learning.learner import Learner, Targets, build_heads
from hiper.learning.processes import Processes, joined
from hiper.learning.training_engine import Engines, whole
from hiper.records import read_jsonl
from hiper.runs.metrics import TIMINGS

ROOT = Path(__file__).parents[2]
RUN = "alfworld_test-test-hiper_traced-seed0"
HEAD = "low"
PROMPT = 780.0  # tokens of a turn of the paper's runs before its answer


def settings_for(device: str, training: Mapping[str, Any], **engine: Any) -> RunSettings:
    """The settings of the experiment `test` with the engine that the device has; `training` and `engine`: what is
    otherwise."""
    values = compose_run("test", RUN, ROOT).model_dump()
    values["training"] |= training
    common = {"device": device, "dtype": "bfloat16" if device == "cuda" else "float32", "threads": 4}
    values["engine"] |= {"compile": "auto", **common, **engine}
    values["tracking"]["live"] = False
    return parse_run(values, "dev.gpu")


class Networks:
    """An actor, its reference and a critic of its own in training, and the turns of an update: `turns` of the paper's
    lengths, values read at the prompts' ends."""

    def __init__(self, settings: RunSettings, sizes: Sizes, engines: Engines, turns: int) -> None:
        shape, device, training = shape_of(sizes.model), settings.engine.device, settings.training
        actor, critic = (build(shape, device) for _ in range(2))
        reference = build(shape, device).requires_grad_(False)
        heads = build_heads(shape.hidden_size, [HEAD], training.critic, [0]).to(device)
        values = Critic(critic.model, heads, {HEAD: "prompt"}, training.micro_batch_tokens, device)
        self.learner = Learner(actor, reference, values, training, None, 1.0, engines)
        prompt = PROMPT if sizes.model != TINY else float(sizes.length - sizes.answer)
        self.rows = make_rows(turns, shape.vocab_size, prompt, 0)
        self.states = [
            State(row.tokens[:length], length, (i, 0), {"prompt": np.array([length - 1])})
            for i, row in enumerate(self.rows)
            for length in (row.prompt_length,)
        ]
        ones = np.ones(turns, np.float32)
        self.targets = {HEAD: Targets(0 * ones, ones, ones > 0)}
        self.tokens = sum(len(row.tokens) for row in self.rows)

    def update_actor(self) -> None:
        self.learner.update_actor(self.rows, np.random.default_rng(0), 1e-6)

    def update_critic(self) -> None:
        self.learner.update_critic(self.states, self.targets, np.random.default_rng(0))

    def figures(self, device: str) -> Iterator[tuple[str, Any]]:
        """Of one update after the other."""
        yield "turns", len(self.rows)
        yield "tokens", self.tokens
        for name, work in (("actor", self.update_actor), ("critic", self.update_critic)):
            seconds, peak = _once(work, device), peak_of(work, device)
            yield name, {"seconds": rounded(seconds), "peak_gb": rounded(None if peak is None else peak / 1e9)}


def _one_update(sizes: Sizes, turns: int) -> dict[str, Any]:
    """Settings by which an update of `turns` is one step of each network."""
    critic = compose_run("test", RUN, ROOT).training.critic.model_dump()
    critic |= {"epochs": 1, "backbone": "separate", "detach": False}
    sizes_of = {"mini_batch_turns": turns, "micro_batch_tokens": sizes.budgets[0]}
    return {"kl": 0.01, "epochs": 1, "critic": critic, **sizes_of}


def _once(work: Callable[[], Any], device: str) -> float:
    """Seconds of the second time."""
    work()
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def update(device: str, sizes: Sizes, report: Report) -> None:
    """An update of the actor with its reference's pass, and one of a critic of its own size."""
    settings = settings_for(device, _one_update(sizes, sizes.turns))
    torch_setup.prepare(settings.engine)
    engines = make_engines(settings.engine, Processes())
    for name, figures in Networks(settings, sizes, engines, sizes.turns).figures(device):
        report(**{name: figures})


def sharded(device: str, sizes: Sizes, report: Report) -> None:
    """The same updates of a quarter of the turns, the engine `local` against DeepSpeed in one process; how long its
    state takes to be copied to the host, and to be loaded."""
    import deepspeed  # noqa: F401  # where it is not there, that is all there is to say

    turns = max(2, sizes.turns // 4)
    ways: dict[str, dict[str, Any]] = {"local": {}}
    ways |= {f"zero_{stage}": {"name": "deepspeed", "zero_stage": stage} for stage in (3, 2, 1)}
    ways["zero_3_offloaded"] = ways["zero_3"] | {"offload_optimizer": True}
    settings = {name: settings_for(device, _one_update(sizes, turns), **engine) for name, engine in ways.items()}
    with joined(settings["zero_3"].engine) as processes:  # DeepSpeed wants the same group all the time
        for name, chosen in settings.items():
            torch_setup.prepare(chosen.engine)
            engines = make_engines(chosen.engine, processes)
            try:
                found: Any = _figures(Networks(chosen, sizes, engines, turns), device)
            except torch.OutOfMemoryError:
                found = "out of memory"
            report(**{name: found})
            free()


def _figures(networks: Networks, device: str) -> dict[str, Any]:
    """Of the updates, and of the actor's state on its way to a checkpoint and back."""
    found, trained = dict(networks.figures(device)), networks.learner.actor_engine
    began = time.perf_counter()
    state = trained.state()
    found["state_seconds"] = rounded(time.perf_counter() - began)
    began = time.perf_counter()
    trained.load(whole([state]))
    wait(device)
    found["load_seconds"] = rounded(time.perf_counter() - began)
    return found


def pipeline(device: str, sizes: Sizes, report: Report) -> None:
    """The stages of the experiment `test` on generated ALFWorld games, one after the other, and what the iterations of
    its RL took."""
    from hiper.benchmarks.record import record_of
    from hiper.stages import demonstrations, tokenizer, training, warmstart

    logging.getLogger("hiper").setLevel(logging.WARNING)
    settings = settings_for(device, {})
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        data, rows = folder / "data", folder / "demonstrations" / "demonstrations.jsonl"
        warm, run = folder / "warmstart", folder / "run"
        steps: dict[str, Callable[[], Any]] = {
            "games": partial(
                record_of(settings.benchmark.name).make_data, settings.benchmark, data / settings.benchmark.dataset
            ),
            "demonstrations": partial(demonstrations.make, settings, data, rows.parent),
            "tokenizer": partial(tokenizer.make, settings, rows, folder / "tokenizer", data),
            "warm_start": partial(warmstart.run, settings, rows, folder / "tokenizer", warm, data),
            "training": partial(training.run, settings, warm / "model", run, data),
        }
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            wait(device)
            report(**{f"{name}_seconds": rounded(time.perf_counter() - began)})
        report(iterations=list(read_jsonl(run / TIMINGS)))
