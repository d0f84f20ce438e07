"""The process that `test_vllm_families.py` starts for each family, because an engine never ends in its process: model
folder, file for what it found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from vllm_model import REQUESTS, Opened

from hiper.learning.folders import load_decoder
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.policies.vllm_engine import VllmEngine, Wanted
from hiper.records import write_json


def main(folder: Path, output: Path) -> None:
    """How far vLLM's log probabilities are from the trainer's at most, with the folder's weights and with others, free
    and guided; the texts of both."""
    engine = VllmEngine(folder, Wanted("cpu", "float32", 1024, True, 8))
    opened = Opened(engine, load_decoder(folder), load_tokenizer(folder))
    engine.wake(opened.weights().items())
    farthest, texts = [], []
    for seed in range(2):
        for mode in ("free", "guided"):
            policy = opened.policy(mode, 0.7)
            answers = policy.respond(REQUESTS, [5])
            texts.append([answer.text for answer in answers])
            for answer in answers:
                assert answer.generation is not None
                expected = opened.trainer_logprobs(policy, answer.generation)
                farthest.append(float(np.abs(answer.generation.logprobs - expected).max()))
        opened.change(seed)
        engine.update(opened.weights().items())
    write_json(output, {"farthest": farthest, "texts": texts})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
