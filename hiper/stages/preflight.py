"""A minute on the nodes before hours of training: a run's engine, sampler and processes on a tiny model of its kind.

What can fail on a node fails here, in words, before anything waits in a queue for it: drivers and libraries, processes
that cannot reach each other, a sampler that does not sleep, wake up and take new weights, log probabilities that do not
agree (`rollout.difference_limit`), a folder that cannot be written.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from hiper.config import RunSettings, parse_run
from hiper.errors import Interrupted, UserError
from hiper.learning import pretrained
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.folders import CONFIG, save_decoder
from hiper.learning.library_model import initial_model
from hiper.learning.model_config import shape_of
from hiper.learning.processes import Processes, joined
from hiper.manifest import package_versions
from hiper.policies.room import longest
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, read_jsonl, write_json
from hiper.runs.metrics import METRICS
from hiper.stages import checkpoint
from hiper.stages.interruption import listening
from hiper.stages.training import Trainer

log = logging.getLogger(__name__)

LAYERS, WIDTHS = 2, {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2}
LEFT_OUT = (CONFIG, "model.safetensors.index.json")  # of what lies beside the weights
TURNS, ANSWER = 2, 32  # of an episode, and tokens of a free answer
REMEDIES = {
    "the processes": "`NCCL_DEBUG=INFO` makes NCCL say what it tries; where nodes have several networks, name one "
    "under network_interface in profiles/slurm/config.yaml",
    "a tiny model": "`hiper model NAME` opens the folder that it is made after",
    "the engine and the sampler": "`hiper doctor` compares packages with their pins and the driver with torch",
    "two iterations": "the part that failed is named above; docs/scaling.md has what each needs",
    "a checkpoint": "the results folder must be one that all nodes write to",
}


def run(settings: RunSettings, tokenizer_folder: Path | None, output: Path, data_root: Path) -> None:
    """Two iterations of a run with a tiny model; write what was seen to `output`. UserError names the part that failed
    and what to look at. `tokenizer_folder`: of models made from scratch."""
    settings, folder = reduced(settings), output.with_suffix(".work")
    device = settings.engine.device
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        with _part("the processes", seconds):
            processes = stack.enter_context(joined(settings.engine))
            hosts = _greeted(processes, device)
        with _part("a tiny model", seconds):
            if processes.first:
                if folder.exists():
                    shutil.rmtree(folder)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                _make_model(settings, tokenizer_folder, folder / "start")
                checkpoint.begin(folder / "checkpoints", {})
            processes.wait()
        with _part("the engine and the sampler", seconds):
            trainer = Trainer(settings, folder / "start", folder, data_root, processes)
        with _part("two iterations", seconds), listening() as notice:
            trainer.train(notice)
        if not processes.first:
            return
        with _part("a checkpoint", seconds):
            if checkpoint.load_latest(folder / "checkpoints") is None:
                raise UserError("none was found after it was written")
        measured = read_jsonl(folder / METRICS)[-1]
        agreement = {name: value for name, value in measured.items() if "logprob_difference" in name}
        write_json(output, _facts(device) | {"hosts": hosts, "seconds": seconds} | agreement)
        log.info("%d processes on %s: ready (%.0f s)", processes.size, ", ".join(hosts), sum(seconds.values()))


def reduced(settings: RunSettings) -> RunSettings:
    """The run's settings with as little to do as possible, everything that a node could stumble over left in: engine,
    precision, sampler, adapters, KL, the critic's kind."""
    values = settings.model_dump()
    values["benchmark"]["max_turns"] = TURNS
    if settings.decoding.mode == "free":
        for name in ("max_response_tokens", "max_text_tokens"):
            values["decoding"][name] = min(values["decoding"][name], ANSWER)
    training = values["training"]
    least = settings.algorithm.group_size * settings.engine.processes
    training |= {"iterations": 2, "episodes": least, "mini_batch_turns": least}
    training |= {"checkpoint_every": 1, "checkpoint_minutes": 0.0}
    training["validation"]["tasks"] = 0
    training["critic"] |= {"warmup_iterations": 0, "pretraining": training["critic"]["pretraining"] | {"episodes": 0}}
    if training["critic"]["trunk_blocks"] != "all":
        training["critic"]["trunk_blocks"] = 1
    if "sampling" in values["algorithm"]:
        values["algorithm"]["sampling"]["resample"] = 0  # two iterations are wanted, whatever the first one plays
    values["evaluation"]["checkpoints"] = ["last"]
    if values["engine"]["gradient_checkpointing"] == "auto":
        values["engine"]["gradient_checkpointing"] = True  # the way that has more to it
    values["tracking"] |= {"live": False, "episodes": 0}
    return parse_run(values, "preflight")


def _make_model(settings: RunSettings, tokenizer_folder: Path | None, folder: Path) -> None:
    """A model of the run's architecture and vocabulary, two layers deep, with random weights and its tokenizer. A class
    of the library keeps its widths."""
    source = tokenizer_folder or pretrained.find(settings.model.path or "")
    tokenizer = load_tokenizer(source)
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".txt", ".model") and path.name not in LEFT_OUT:
            shutil.copyfile(path, folder / path.name)
    if (source / CONFIG).exists():
        config = read_json(source / CONFIG)
        small: dict[str, Any] = {"num_hidden_layers": LAYERS}
        if config.get("layer_types"):
            small["layer_types"] = config["layer_types"][:LAYERS]
        if isinstance(shape_of(config, source / CONFIG), DecoderShape):
            small |= WIDTHS | {"num_key_value_heads": min(config.get("num_key_value_heads") or 1, 2)}
        write_json(folder / CONFIG, config | small)
        shape = shape_of(read_json(folder / CONFIG), folder / CONFIG)
    else:
        shape = DecoderShape(len(tokenizer), 128, 256, LAYERS, 2, 2, True, longest(settings), 10000.0, 1e-6)
    if isinstance(shape, DecoderShape):
        model = Decoder(shape)
        model.initialize(torch.Generator().manual_seed(0))
    else:
        model = initial_model(shape, folder / CONFIG, 0)
    end = int(tokenizer.eos_token_id)
    save_decoder(model, folder, folder, end, end if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id))


def _greeted(processes: Processes, device: str) -> list[str]:
    """The names of the nodes, after every process has heard of every other: over the main memory, and over NCCL where
    there are GPUs. UserError where somebody was not heard."""
    hosts = processes.gathered([platform.node()])
    if processes.size > 1:
        total = torch.ones(1 << 20, device=device) * (processes.rank + 1)
        torch.distributed.all_reduce(total)
        expected = processes.size * (processes.size + 1) / 2
        if len(hosts) != processes.size or not bool((total == expected).all()):
            raise UserError(
                f"{len(hosts)} of {processes.size} answered, and their sum is {float(total[0])}, not {expected}"
            )
    return sorted(set(hosts))


def _facts(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"torch": torch.__version__, "cpus": os.cpu_count(), "packages": package_versions()}
    if device == "cuda":
        facts["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        facts["cuda"], facts["nccl"] = torch.version.cuda, ".".join(map(str, torch.cuda.nccl.version()))
    return facts


@contextmanager
def _part(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """A part of the preflight: how long it took, or that it was this one that failed."""
    started = time.monotonic()
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise UserError(f"preflight, {name}: {text}. Nothing was trained yet. {REMEDIES[name]}") from error
    seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - started, 1)
