"""Sampling turns: `LocalPolicy` against `transformers`' `generate`, from prompt texts to response texts.

Both have the same weights, prompts, sampling (temperature 1, whole vocabulary) and response lengths. The model is
random and would not end its answers, so both are told where each ends: rows of `generate` stop counting but stay in the
batch until the longest is done, which is what it does with an end token too; rows of `LocalPolicy` leave the batch.

- free: one call, the same number of sampled tokens per row on both sides.
- guided: `LocalPolicy` restricted to the block format and admissible actions, against plain `generate` that makes as
  many tokens (it does not look at the format, which favours it), and against `generate` restricted by
  `prefix_allowed_tokens_fn` with the same state machine, whose answers have the same distribution of lengths.
- episodes: several turns of a batch whose episodes end one after the other. The obvious loop (and the released code's)
  goes on with the whole batch until the last ends; ours asks for unfinished episodes only. Per token of episodes
  that were still going on.

Times are wall-clock times per response token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from dev.bench.bounds import python_shares
from dev.bench.library import Library, PlannedPolicy, require_same_answer
from dev.bench.measure import Budget, Comparison, Result, Side, Target, interleave
from dev.bench.models import (
    LONGEST_PROMPT,
    SHAPES,
    Machine,
    build_decoder,
    learn_tokenizer,
    library_model,
    response_lengths,
    run_settings,
    walked_requests,
)
from hiper.config import Decoding
from hiper.learning.decoder import Decoder
from hiper.policies.base import Request, Response
from hiper.policies.local import LocalPolicy

OURS, GENERATE, RESTRICTED = "LocalPolicy", "generate", "generate, restricted"
RATIO = 2.0
CHECKED = 4  # prompts whose greedy answers are compared token by token
CHECKED_TOKENS = 24

Work = Callable[[int], float]  # (round) -> tokens


@dataclass(frozen=True)
class Setting:
    """One model in both decoders, with prompts of two lengths (`short`: the demo's, `long`: the paper's)."""

    decoder: Decoder
    tokenizer: Any
    library: Library
    machine: Machine
    short: Sequence[Request]
    long: Sequence[Request]

    def policy(self, mode: str, temperature: float, tokens: int, planned: Sequence[int] = ()) -> LocalPolicy:
        """Free decoding has room for `tokens`; with `planned`, answers end there."""
        decoding = Decoding(mode=mode, temperature=temperature, max_response_tokens=tokens, max_text_tokens=16)
        kind = PlannedPolicy if len(planned) else LocalPolicy
        made = kind(self.decoder, self.tokenizer, decoding, "plan_execute", LONGEST_PROMPT, self.machine.device)
        if isinstance(made, PlannedPolicy):
            made.planned = planned
        return made

    def respond(self, policy: LocalPolicy, requests: Sequence[Request], seed: Sequence[int]) -> list[Response]:
        with self.machine.autocast():
            answers = policy.respond(requests, seed)
        self.machine.wait()
        return answers


def build(shape: str, batch: int, machine: Machine, seed: int, folder: Path, root: Path) -> Setting:
    settings = run_settings(root)
    wordy = settings.model_copy(update={"prompt": settings.prompt.model_copy(update={"style": "full"})})
    short = walked_requests(settings, 6, batch, seed)
    long = walked_requests(wordy, None, max(CHECKED, batch // 2), seed)
    sizes = SHAPES[shape]
    tokenizer = learn_tokenizer(settings, [*short, *long], folder)
    decoder = build_decoder(sizes, seed).to(machine.device)
    end, pad = int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)
    model = library_model(decoder, folder, end, pad, machine.device)
    return Setting(decoder, tokenizer, Library(model, tokenizer, machine), machine, short, long)


def require_equal(setting: Setting) -> list[str]:
    """Disagreement unless greedy answers of both sides have the same tokens with the same log probabilities."""
    said = []
    for name, requests in (("short", setting.short[:CHECKED]), ("long", setting.long[:CHECKED])):
        for mode in ("free", "guided"):
            policy = setting.policy(mode, 0.0, CHECKED_TOKENS)
            ours = setting.respond(policy, requests, [0])
            theirs = setting.library.greedy(policy, requests, CHECKED_TOKENS)
            worst = max(
                require_same_answer(f"{name} prompt {i}, {mode}", answer, tokens, scores, setting.machine.tolerance)
                for i, (answer, (tokens, scores)) in enumerate(zip(ours, theirs, strict=True))
            )
            said.append(f"greedy tokens of {len(requests)} {name} prompts, {mode}; log probabilities to {worst:.1e}")
    return said


def measure(
    budget: Budget,
    *,
    machine: Machine,
    shape: str = "tiny",
    batch: int = 64,
    turns: int = 4,
    seed: int = 0,
    root: Path = Path(),
    alter: Callable[[Setting], None] = lambda setting: None,
) -> Result:
    """`batch` short prompts, half as many long ones; `alter` may spoil a side (for tests of the refusal)."""
    machine.prepare()
    share = Budget(budget.rounds, budget.seconds / 4)
    with TemporaryDirectory() as folder:
        setting = build(shape, batch, machine, seed, Path(folder), root)
        alter(setting)
        checks = require_equal(setting)
        free = [_free(setting, kind, requests, seed, share) for kind, requests in _kinds(setting)]
        measured = [*free, _guided(setting, seed, share), _episodes(setting, turns, seed, share)]
        targets = [_target(comparison, ours) for comparison, ours in measured]
    sizes = setting.decoder.shape
    facts = {
        "shape": shape,
        "parameters": sum(p.numel() for p in setting.decoder.parameters()),
        "hidden": sizes.hidden_size,
        "layers": sizes.num_hidden_layers,
        "vocabulary": sizes.vocab_size,
        "prompts": ", ".join(_described(setting, requests) for _, requests in _kinds(setting)),
        "responses": "log-normal, mean 40 tokens, 16 to 96",
        "device": machine.device,
        "dtype": machine.dtype,
        "threads": machine.threads,
        "seed": seed,
    }
    return Result("rollout", facts, checks, [comparison for comparison, _ in measured], targets)


def _kinds(setting: Setting) -> list[tuple[str, Sequence[Request]]]:
    return [("short prompts", setting.short), ("long prompts", setting.long)]


def _described(setting: Setting, requests: Sequence[Request]) -> str:
    policy = setting.policy("free", 1.0, 1)
    lengths = [len(policy.encode_prompt(request.prompt)) for request in requests]
    return f"{len(lengths)} of {np.mean(lengths):.0f} tokens ({min(lengths)} to {max(lengths)})"


def _free(
    setting: Setting, kind: str, requests: Sequence[Request], seed: int, budget: Budget
) -> tuple[Comparison, Work]:
    planned = response_lengths(len(requests), seed)
    policy = setting.policy("free", 1.0, int(planned.max()), planned.tolist())

    def ours(number: int) -> float:
        setting.respond(policy, requests, [seed, number])
        return float(planned.sum())

    def theirs(number: int) -> float:
        setting.library.sample([request.prompt for request in requests], planned)
        return float(planned.sum())

    sides = [Side(OURS, ours), Side(GENERATE, theirs)]
    gauge = setting.machine.gauge()
    return interleave(f"free, {kind}", "token", sides, {GENERATE: OURS}, budget, gauge=gauge), ours


def _guided(setting: Setting, seed: int, budget: Budget) -> tuple[Comparison, Work]:
    requests = setting.short
    policy = setting.policy("guided", 1.0, 48)
    lengths = np.full(len(requests), 1)

    def ours(number: int) -> float:
        answers = setting.respond(policy, requests, [seed, number])
        lengths[:] = [len(answer.generation.response_tokens) for answer in answers if answer.generation is not None]
        return float(lengths.sum())

    def plain(number: int) -> float:
        setting.library.sample([request.prompt for request in requests], lengths.copy())
        return float(lengths.sum())

    def restricted(number: int) -> float:
        return float(sum(setting.library.restricted(policy, requests, 48)))

    sides = [Side(OURS, ours), Side(GENERATE, plain), Side(RESTRICTED, restricted)]
    return interleave("guided, short prompts", "token", sides, {GENERATE: OURS, RESTRICTED: OURS}, budget), ours


def _episodes(setting: Setting, turns: int, seed: int, budget: Budget) -> tuple[Comparison, Work]:
    """Free decoding of half the short prompts; after each turn an equal share of the episodes is over."""
    requests = setting.short[: max(turns, len(setting.short) // 2)]
    ends = np.random.default_rng([seed, 2]).permutation(np.arange(len(requests)) % turns) + 1
    planned = [response_lengths(len(requests), seed + 100 + turn) for turn in range(turns)]
    useful = float(sum(planned[turn][ends > turn].sum() for turn in range(turns)))

    def ours(number: int) -> float:
        for turn in range(turns):
            going = np.flatnonzero(ends > turn)
            policy = setting.policy("free", 1.0, int(planned[turn][going].max()), planned[turn][going].tolist())
            setting.respond(policy, [requests[i] for i in going], [seed, number, turn])
        return useful

    def theirs(number: int) -> float:
        for turn in range(turns):
            setting.library.sample([request.prompt for request in requests], planned[turn])
        return useful

    sides = [Side(OURS, ours), Side(GENERATE, theirs)]
    return interleave(f"episodes of 1 to {turns} turns, free", "token", sides, {GENERATE: OURS}, budget), ours


def _target(comparison: Comparison, ours: Work) -> Target:
    """Plain `generate` is what the target compares with, also where ours is restricted."""
    ratio = comparison.ratio(GENERATE).median
    bound = "" if ratio >= RATIO else f"what ours spends, by function: {python_shares(lambda: ours(0))}"
    return Target(f"{comparison.title}, times generate", f"at least {RATIO:g}", ratio, ratio >= RATIO, bound)
