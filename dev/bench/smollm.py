"""A real model's sizes, those of SmolLM2-135M with random weights, used as the experiment `smollm` uses it.

- playing: turns of the same episodes, one after the other, with the experiment's prompts (`compact`) or those of
  `smollm_zero`, which explain the rules (`full`). `LocalPolicy` guided, with kept prefixes and weights in the given
  precision, against `generate` on left-padded batches of the same prompts, as many new tokens in each row, with weights
  in the same precision and in float32, as the library loads the model's folder. `generate` does not look at the format,
  which favours it.
- training: see `dev.bench.train`, with the experiment's limits for the layout that is padded to limits.

Random weights write texts to their limit, so free text is cut at the length of the expert's subgoals. With one thread
times are the processor's: waiting for other processes is left out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from dev.bench import train
from dev.bench.bounds import python_shares
from dev.bench.library import Library, require_same_answer
from dev.bench.measure import Budget, Comparison, Result, Side, Target, interleave
from dev.bench.models import SHAPES, Machine, build_decoder, library_model, walked_episodes
from hiper.compose import compose_run
from hiper.config import Decoding
from hiper.learning.decoder import Decoder
from hiper.learning.guide import TAGS
from hiper.plan_execute import render
from hiper.policies.base import Request
from hiper.policies.local import LocalPolicy
from hiper.policies.prefixes import Prefixes

RUN = "alfworld_small-smollm2_135m-hiper-seed0"
OURS, GENERATE, PLAIN = "LocalPolicy", "generate", "generate in float32"
PLAYED, TRAINED = 4.0, 3.0  # times the other side
SUBGOAL = 8  # tokens
VOCABULARY = 700  # with so many a tag is three or four tokens and a prompt about as long as in SmolLM2's own
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHECKED = 2  # requests whose greedy answers are compared
CHECKED_TOKENS = 12

Turns = Sequence[Sequence[Request]]  # [turn][episode]


def measure(
    budget: Budget,
    *,
    machine: Machine,
    shape: str = "smollm2",
    style: str = "compact",
    episodes: int = 4,
    turns: int = 3,
    rows: int = 3,
    seed: int = 0,
    root: Path = Path(),
    alter: Callable[[Any], None] = lambda model: None,
) -> Result:
    """`episodes` of `turns` each are played, a mini-batch of `rows` turns is trained; `alter` may spoil the library's
    model (for tests of the refusal)."""
    machine.prepare()
    settings = compose_run("smollm", RUN, root)
    prompt = settings.prompt.model_copy(update={"style": style})
    requests = walked_episodes(settings.model_copy(update={"prompt": prompt}), None, episodes, turns, seed)
    every = [request for turn in requests for request in turn]
    tokenizer = _tokenizer(every)
    half = Budget(budget.rounds, budget.seconds / 2)
    with TemporaryDirectory() as folder:
        decoder = build_decoder(SHAPES[shape], seed)
        end = int(tokenizer.eos_token_id)
        model = library_model(decoder, Path(folder), end, end, machine.device)
        alter(model)
        exact = replace(machine, dtype="float32")
        library = Library(model, tokenizer, exact)
        check = _require_equal(_policy(decoder, tokenizer, settings.decoding, exact, greedy=True), library, requests)
        plain = Library(copy.deepcopy(model), tokenizer, exact) if machine.dtype != "float32" else None
        for one in (decoder, model):
            one.to(getattr(torch, machine.dtype))
        policy = _policy(decoder, tokenizer, settings.decoding, machine)
        playing, wanted, facts = _playing(policy, library, plain, requests, seed, half, machine)
        del decoder, model, library, policy, plain
    training = train.measure(
        half,
        machine=machine,
        shapes=[shape],
        turns=rows,
        prompt=float(np.mean([len(tokenizer.encode(request.prompt)) for request in every])),
        seed=seed,
        root=root,
        limits=(settings.prompt.max_tokens, settings.decoding.max_response_tokens),
        wanted=TRAINED,
        plain=machine.dtype != "float32",
        clock=_clock(machine),
    )
    tags = sum(len(tokenizer.encode(tag, add_special_tokens=False)) for tag in TAGS[:6])
    return Result(
        "smollm",
        {"style": style, "played": facts, "tags": f"{tags} tokens", **training.settings},
        [check, *training.checks],
        [playing, *training.comparisons],
        [*wanted, *training.targets],
        training.notes,
    )


def _tokenizer(requests: Sequence[Request]) -> Any:
    """A byte-level BPE as SmolLM2's, in which a tag is text like any other, learned from these prompts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|im_end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    answers = [render(True, "find something", request.admissible_actions[0]) for request in requests]
    made.train_from_iterator([*(request.prompt for request in requests), *answers], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|im_end|>", chat_template=CHAT
    )


def _policy(
    decoder: Decoder, tokenizer: Any, decoding: Decoding, machine: Machine, greedy: bool = False
) -> LocalPolicy:
    """As the experiment samples."""
    chosen = decoding.model_copy(update={"max_text_tokens": SUBGOAL} | ({"temperature": 0.0} if greedy else {}))
    half = machine.dtype == "bfloat16"
    return LocalPolicy(
        decoder, tokenizer, chosen, "plan_execute", 4000, machine.device, autocast=half, prefixes=Prefixes()
    )


def _require_equal(policy: LocalPolicy, library: Library, requests: Turns) -> str:
    """Disagreement unless greedy guided answers of both sides have the same tokens, in the first turn and, with what
    was kept of it, in the second. In float32: bfloat16 rounds too much for random weights of thirty layers."""
    worst = 0.0
    for number, turn in enumerate(requests[:2]):
        asked = turn[:CHECKED]
        theirs = library.greedy(policy, asked, CHECKED_TOKENS)
        ours = policy.respond(asked, [0])
        for i, (answer, (tokens, scores)) in enumerate(zip(ours, theirs, strict=True)):
            assert answer.generation is not None
            begun = replace(answer.generation, response_tokens=answer.generation.response_tokens[:CHECKED_TOKENS])
            where, first = f"turn {number}, prompt {i}", replace(answer, generation=begun)
            worst = max(worst, require_same_answer(where, first, tokens, scores, library.machine.tolerance))
    return f"greedy tokens of {CHECKED} episodes in two turns, float32; log probabilities to {worst:.1e}"


def _clock(machine: Machine) -> train.Clock:
    return time.process_time if machine.threads == 1 and machine.device == "cpu" else time.perf_counter


def _playing(
    policy: LocalPolicy,
    library: Library,
    plain: Library | None,
    requests: Turns,
    seed: int,
    budget: Budget,
    machine: Machine,
) -> tuple[Comparison, list[Target], str]:
    """The comparison per answered token, what is wanted of it, and what was played."""
    lengths = [np.ones(len(turn), np.int64) for turn in requests]
    tokens = [len(policy.encode_prompt(request.prompt)) for turn in requests for request in turn]
    assert policy.prefixes is not None

    def ours(number: int) -> float:
        policy.begin([seed, number])  # as after an update of the weights
        for place, turn in enumerate(requests):
            answers = policy.respond(turn, [seed, number, place])
            lengths[place] = np.array([len(a.generation.response_tokens) for a in answers if a.generation is not None])
        return float(sum(length.sum() for length in lengths))

    def theirs(way: Library) -> Callable[[int], float]:
        def run(number: int) -> float:
            for turn, length in zip(requests, lengths, strict=True):
                way.sample([request.prompt for request in turn], length)
            return float(sum(length.sum() for length in lengths))

        return run

    others = {GENERATE: library} | ({PLAIN: plain} if plain is not None else {})
    sides = [Side(OURS, ours), *(Side(name, theirs(way)) for name, way in others.items())]
    title = f"{len(requests[0])} episodes, {len(requests)} turns, guided"
    ratios = dict.fromkeys(others, OURS)
    comparison = interleave(title, "token", sides, ratios, budget, _clock(machine), machine.gauge())
    answered = np.mean(np.concatenate(lengths))
    said = (
        f"prompts {np.mean(tokens):.0f} tokens ({100 * policy.prefixes.hit_rate():.0f} % of them kept), "
        f"answers {answered:.0f}"
    )
    targets = []
    for name in others:
        ratio = comparison.ratio(name).median
        bound = "" if ratio >= PLAYED else f"what ours spends, by function: {python_shares(lambda: ours(0))}"
        targets.append(Target(f"{title}, times {name}", f"at least {PLAYED:g}", ratio, ratio >= PLAYED, bound))
    return comparison, targets, said
