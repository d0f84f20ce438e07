"""One of the processes that `test_vllm_processes.py` starts with torchrun: model folder, folder for what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as distributed

from hiper.learning.folders import load_decoder
from hiper.policies.vllm_engine import VllmEngine, Wanted
from hiper.records import write_json

PROMPT = list(range(20, 60))


def main(model: Path, output: Path) -> None:
    """Play with weights that are this process's own, more and longer in the second process than in the first."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    engine, decoder = VllmEngine(model, Wanted("cpu", "float32", 200, False, 8)), load_decoder(model)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(1.0 + 0.5 * rank)
    engine.wake(decoder.state_dict().items())
    for seed in range(2 + 3 * rank):
        options = {"temperature": 0.7, "max_tokens": 5 + 10 * rank, "seed": seed, "ignore_eos": True}
        engine.submit(PROMPT, options)
    answers: dict[int, list[int]] = {}
    while len(answers) < 2 + 3 * rank:
        answers |= {done.ticket: done.tokens for done in engine.collect()}
    write_json(output / f"{rank}.json", {"answers": [answers[ticket] for ticket in sorted(answers)]})
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
