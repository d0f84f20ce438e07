"""One mini-batch of PPO, forward and backward: the learner's packed rows against padded batches with full logits.

Both compute the clipped loss of the same response tokens under the same weights; the optimiser's step, which is the
same for both, is left out. Ours is `Learner`: rows of like length packed together, the last layer and the logits at
response tokens only. The other is what one writes with `transformers`: left-padded prompts, right-padded responses,
attention mask, logits of every position in float32, log-softmax over the response's. It is timed twice: padded to
the longest of each micro-batch, which is the comparison for the target, and padded to the limits of the configuration
(prompt 2,048, response 512), which is how the released code lays out its batches. (That code can also remove the
padding again before the layers of the model, with a GPU kernel that has no counterpart here.)

Times are wall-clock times per mini-batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dev.bench.bounds import padding_bound
from dev.bench.measure import Budget, Comparison, Disagreement, Result, Side, Target, interleave
from dev.bench.models import SHAPES, Machine, build_decoder, library_model, response_lengths, run_settings
from dev.bench.throughput import logits_note, throughput
from hiper.config import Training
from hiper.learning import losses
from hiper.learning.batches import TurnRow
from hiper.learning.critic import Critic
from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.learner import Learner, build_heads
from hiper.learning.local_engine import LocalEngines
from hiper.planning.hardware import card_called

Clock = Callable[[], float]

RATIO = 4.0
OURS, COMPILED, LONGEST, LIMITS = "packed", "packed, compiled", "padded to the longest", "padded to the limits"
PLAIN = "padded to the longest, float32"  # what the library computes of a folder in float32 unless it is told otherwise
PROMPT_LIMIT, RESPONSE_LIMIT = 2048, 512
MICRO_BATCH = 16  # rows, the released script's; one with full logits has to fit the memory
# Numbers in the largest logits tensor tried, 1 GB and 8 GB; backward holds about four of the kind.
LOGITS_ROOM = {"cpu": 1 << 28, "cuda": 1 << 31}
# Of gradients, relative to the largest of the parameter's. In float32 the rotary angles of position 1,000 are rounded
# by up to 1e-4, differently on the two sides; that alone makes 2e-4 (the same in float64 with these angles).
TOLERANCE = {"float32": 1e-3, "bfloat16": 8e-2}  # in bfloat16 both sides round, each by 1 to 3 % of the largest


@dataclass(frozen=True)
class Padded:
    """The padded way: one micro-batch after the other through the library's model."""

    model: Any
    rows: Sequence[TurnRow]
    settings: Training
    machine: Machine
    micro_batch: int
    pad: int

    def backward(self, limits: tuple[int, int] | None) -> float:
        """Loss of the mini-batch; gradients are left on the parameters. `limits`: (prompt, response) to pad to."""
        self.model.zero_grad(set_to_none=True)
        count = sum(int(row.trained.sum()) for row in self.rows)
        total = 0.0
        for start in range(0, len(self.rows), self.micro_batch):
            loss = self._loss(self.rows[start : start + self.micro_batch], limits) / count
            loss.backward()
            total += float(loss.detach())
        self.machine.wait()
        return total

    def _loss(self, rows: Sequence[TurnRow], limits: tuple[int, int] | None) -> Tensor:
        prompts, responses = [row.prompt_length for row in rows], [len(row.trained) for row in rows]
        before, after = limits or (max(prompts), max(responses))
        shape = (len(rows), before + after)
        tokens, attended = np.full(shape, self.pad), np.zeros(shape, np.int64)
        trained, old, advantage = (np.zeros((len(rows), after), kind) for kind in (bool, np.float32, np.float32))
        for i, row in enumerate(rows):
            place = slice(before - prompts[i], before + responses[i])
            tokens[i, place], attended[i, place] = row.tokens, 1
            trained[i, : responses[i]] = row.trained
            old[i, : responses[i]], advantage[i, : responses[i]] = row.logprob, row.advantage
        ids, mask, chosen, older, weight = (
            torch.as_tensor(array, device=self.machine.device) for array in (tokens, attended, trained, old, advantage)
        )
        with self.machine.autocast():
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        logprobs = out.logits[:, before - 1 : -1].float().log_softmax(-1)
        taken = logprobs.gather(2, ids[:, before:, None]).squeeze(2)
        clips = (self.settings.clip_low, self.settings.clip_high, self.settings.dual_clip)
        loss, _ = losses.clipped_policy_loss(taken[chosen], older[chosen], weight[chosen], *clips)
        return loss


def make_rows(count: int, vocabulary: int, prompt: float, seed: int) -> list[TurnRow]:
    """Random tokens; prompts normal around `prompt` with a fifth of it as deviation (cut at half and double), responses
    as in `response_lengths`. The highest token, the padding's, does not occur."""
    random = np.random.default_rng([seed, 3])
    prompts = np.clip(random.normal(prompt, prompt / 5, count), prompt / 2, 2 * prompt).astype(np.int64)
    rows = []
    for before, after in zip(prompts.tolist(), response_lengths(count, seed).tolist(), strict=True):
        every = np.ones(after, bool)
        rows.append(
            TurnRow(
                tokens=random.integers(0, vocabulary - 1, before + after).astype(np.int32),
                prompt_length=before,
                advantage=random.normal(size=after).astype(np.float32),
                trained=every,
                chosen=every,
                logprob=random.normal(-np.log(vocabulary), 0.1, after).astype(np.float32),
                allowed=None,
            )
        )
    return rows


def make_learner(decoder: Decoder, settings: Training, machine: Machine) -> Learner:
    """The learner without KL and entropy terms, so that its loss is the clipped surrogate alone."""
    heads = build_heads(decoder.shape.hidden_size, ["low"], settings.critic, [0]).to(machine.device)
    critic = Critic(decoder.model, heads, {"low": "prompt"}, settings.micro_batch_tokens, machine.device)
    engines = LocalEngines(machine.device, machine.dtype == "bfloat16")
    return Learner(decoder, None, critic, settings, None, 1.0, engines)


def require_equal(ours: float, theirs: float, decoder: Decoder, model: Any, tolerance: float) -> str:
    """Disagreement unless losses and all gradients agree, each relative to the parameter's largest gradient."""
    if not abs(ours - theirs) <= tolerance * max(1.0, abs(theirs)):
        raise Disagreement(f"loss: {ours:.9g} packed, {theirs:.9g} padded")
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    worst = 0.0
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None
        scale = float(gradients[name].abs().max())
        # a key's bias adds the same to all scores of a query, so its true gradient is 0 and what is there is rounding
        if name.endswith("k_proj.bias"):
            continue
        difference = float((parameter.grad - gradients[name]).abs().max()) / max(scale, 1e-12)
        if not difference <= tolerance:
            raise Disagreement(f"gradient of {name}: differs by {difference:.3g} of its largest entry {scale:.3g}")
        worst = max(worst, difference)
    return f"loss to {abs(ours - theirs):.1e}, gradients to {worst:.1e} of each parameter's largest"


def measure(
    budget: Budget,
    *,
    machine: Machine,
    shapes: Sequence[str] = ("tiny", "vocabulary"),
    turns: int = 32,
    prompt: float = 780.0,
    seed: int = 0,
    root: Path = Path(),
    limits: tuple[int, int] = (PROMPT_LIMIT, RESPONSE_LIMIT),
    peak: float | None = None,
    wanted: float = RATIO,
    compiles: bool = False,
    plain: bool = False,
    clock: Clock = time.perf_counter,
    alter: Callable[[Padded], Padded] = lambda padded: padded,
) -> Result:
    """One comparison per shape; `limits`: (prompt, response) to pad to; `peak`: operations per second of a device that
    is no listed GPU; `wanted`: times the padded way; `compiles`: time ours with `engine.compile`, too; `plain`: time
    the padded way in float32, too; `clock` as in `interleave`; `alter` may spoil the padded side (for tests of the
    refusal)."""
    machine.prepare()
    known = card_called(machine.card)
    peak = peak if known is None or peak is not None else known.flops
    settings = run_settings(root).training.model_copy(update={"kl": 0.0, "entropy": 0.0})
    share = Budget(budget.rounds, budget.seconds / len(shapes))
    checks, comparisons, targets, sizes = [], [], [], {}
    notes = [logits_note({name: SHAPES[name] for name in shapes})]
    for name in shapes:
        comparison, rows, said, facts, bound = _compare(
            name, settings, machine, share, turns, prompt, seed, limits, wanted, compiles, plain, clock, alter
        )
        notes.append(throughput(name, comparison, rows, SHAPES[name], peak))
        checks.append(f"{name}: {said}")
        comparisons.append(comparison)
        sizes[name] = facts
        ratio = comparison.ratio(LONGEST).median
        targets.append(Target(f"{name}, times {LONGEST}", f"at least {wanted:g}", ratio, ratio >= wanted, bound))
        if plain:
            ratio = comparison.ratio(PLAIN).median
            targets.append(Target(f"{name}, times {PLAIN}", f"at least {wanted:g}", ratio, ratio >= wanted, bound))
    common = {"prompts": f"normal, mean {prompt:g}, deviation {prompt / 5:g}", "responses": "log-normal, mean 40"}
    machine_facts = {"device": machine.device, "dtype": machine.dtype, "threads": machine.threads, "seed": seed}
    return Result("train", {**sizes, **common, **machine_facts}, checks, comparisons, targets, notes)


def _compare(
    name: str,
    settings: Training,
    machine: Machine,
    budget: Budget,
    turns: int,
    prompt: float,
    seed: int,
    limits: tuple[int, int],
    wanted: float,
    compiles: bool,
    plain: bool,
    clock: Clock,
    alter: Callable[[Padded], Padded],
) -> tuple[Comparison, list[TurnRow], str, str, str]:
    """(comparison, its mini-batch, what was found equal, sizes, what bounds a missed target)."""
    shape = SHAPES[name]
    micro_batch, turns = _fitting(shape, turns, int(2 * prompt), machine.device)
    rows = make_rows(turns, shape.vocab_size, prompt, seed)
    decoder = build_decoder(shape, seed).to(machine.device)
    learner = make_learner(decoder, settings, machine)
    every = np.arange(len(rows))
    with TemporaryDirectory() as folder:
        pad = shape.vocab_size - 1
        model = library_model(decoder, Path(folder), pad, pad, machine.device).train()
    padded = alter(Padded(model, rows, settings, machine, micro_batch, pad))

    def clear(number: int) -> None:
        decoder.zero_grad(set_to_none=True)
        model.zero_grad(set_to_none=True)

    def clear_compiled(number: int) -> None:
        clear(number)
        machine.prepare(compiles=True)

    def clear_eager(number: int) -> None:
        clear(number)
        machine.prepare()

    def ours(number: int) -> float:
        decoder.zero_grad(set_to_none=True)
        learner.accumulate_actor_gradients(rows, every)
        machine.wait()
        return 1.0

    def theirs(where: tuple[int, int] | None, way: Padded = padded) -> Callable[[int], float]:
        def run(number: int) -> float:
            way.backward(where)
            return 1.0

        return run

    decoder.zero_grad(set_to_none=True)
    loss = learner.accumulate_actor_gradients(rows, every)["loss"]
    said = require_equal(loss, padded.backward(None), decoder, model, TOLERANCE[machine.dtype])
    sides, ratios = [Side(OURS, ours, clear_eager), Side(LONGEST, theirs(None), clear)], {LONGEST: OURS}
    if compiles:
        clear_compiled(0)
        loss = learner.accumulate_actor_gradients(rows, every)["loss"]
        said += f"; compiled {require_equal(loss, padded.backward(None), decoder, model, TOLERANCE[machine.dtype])}"
        sides.append(Side(COMPILED, ours, clear_compiled))
        ratios[OURS] = COMPILED
    if min(micro_batch, turns) * sum(limits) * shape.vocab_size <= LOGITS_ROOM[machine.device]:
        sides.append(Side(LIMITS, theirs(limits), clear))
        ratios[LIMITS] = OURS
    if plain:
        exact = replace(padded, machine=replace(machine, dtype="float32"))
        sides.append(Side(PLAIN, theirs(None, exact), clear))
        ratios[PLAIN] = OURS
    comparison = interleave(f"{name}: {turns} turns", "mini-batch", sides, ratios, budget, clock, machine.gauge())
    bound = (
        ""
        if comparison.ratio(LONGEST).median >= wanted
        else padding_bound(lambda: ours(0), [len(row.tokens) for row in rows], micro_batch, machine.device)
    )
    facts = (
        f"{sum(p.numel() for p in decoder.parameters())} parameters (vocabulary {shape.vocab_size}, hidden "
        f"{shape.hidden_size}, layers {shape.num_hidden_layers}), {turns} turns, padded in "
        f"micro-batches of {micro_batch}"
    )
    return comparison, rows, said, facts, bound


def _fitting(shape: DecoderShape, turns: int, width: int, device: str) -> tuple[int, int]:
    """(rows of a padded micro-batch, turns): as many rows as full logits have room for, two at least; on a CPU no
    further turns than one such micro-batch, for time."""
    micro_batch = max(2, min(MICRO_BATCH, LOGITS_ROOM[device] // (shape.vocab_size * width)))
    return micro_batch, min(turns, micro_batch) if micro_batch < MICRO_BATCH and device == "cpu" else turns
