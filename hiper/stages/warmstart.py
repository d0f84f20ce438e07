"""The SFT warm start: a model folder that speaks the format, learned from the demonstrations."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hiper.config import RunSettings
from hiper.digests import stage_digest
from hiper.errors import Interrupted, UserError
from hiper.learning import pretrained, torch_setup
from hiper.learning.batches import micro_batches
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.folders import TOKENIZER_FILES, load_decoder, save_decoder
from hiper.learning.guide import answer_tokens
from hiper.learning.lora import adapt, merged_weights, trainable
from hiper.locks import exclusive
from hiper.manifest import files_of, require_data, verify_outputs, withdraw_manifest, write_manifest
from hiper.plan_execute import continued, opens_thought
from hiper.policies.tokenizer_files import Chat, chat_frame, load_tokenizer
from hiper.policies.usable import usable_tokenizer
from hiper.randomness import generator, seed_number
from hiper.records import sha256_file
from hiper.runs.metrics import METRICS, TIMINGS, MetricsLog, Progress
from hiper.stages import checkpoint
from hiper.stages.demonstrations import read_demonstrations, require_same
from hiper.stages.interruption import Notice, listening
from hiper.stages.sharing import take_over
from hiper.stages.tasks import STREAMS, stream

log = logging.getLogger(__name__)

METRICS_EVERY = 50  # steps


@dataclass(frozen=True)
class Example:
    """One demonstrated turn: `tokens` [prompt + response], the response begins at `start`."""

    tokens: npt.NDArray[np.int32]
    start: int


def run(
    settings: RunSettings, demonstrations: Path | None, tokenizer_folder: Path | None, folder: Path, data_root: Path
) -> None:
    """Train and write `folder/model`, `folder/metrics.jsonl`, `folder/manifest.json`; resumes from
    `folder/checkpoints`.

    `tokenizer_folder` is given for models made from scratch; pretrained models bring their own. With
    `warm_start.method: none` the pretrained model is copied unchanged.
    """
    with exclusive(folder), listening() as notice:
        _make(settings, demonstrations, tokenizer_folder, folder, data_root, notice)


def _make(
    settings: RunSettings,
    demonstrations: Path | None,
    tokenizer_folder: Path | None,
    folder: Path,
    data_root: Path,
    notice: Notice,
) -> None:
    started = time.monotonic()
    sft = settings.warm_start.method == "sft"
    # a model that is only copied needs no GPU, and on a cluster its job has none
    engine = settings.engine if sft else settings.engine.model_copy(update={"device": "cpu"})
    device = torch_setup.prepare(engine)
    data = None
    if demonstrations is not None:
        verify_outputs(demonstrations.parent)
        require_same(settings, demonstrations.parent)
        data = require_data(demonstrations.parent, data_root, settings.benchmark.dataset)
    source = tokenizer_folder or pretrained.find(settings.model.path or "")
    inputs = {"tokenizer": source, **({"demonstrations": demonstrations} if demonstrations else {})}
    further = {"metrics": METRICS} if sft else {}
    if take_over(folder, "warmstart", settings, data_root, inputs, started, data, further):
        checkpoint.clear(folder / "checkpoints")
        (folder / TIMINGS).unlink(missing_ok=True)  # of what was begun here
        return
    tokenizer = load_tokenizer(source) if tokenizer_folder else usable_tokenizer(settings, source)
    decoder = _initial_decoder(settings, tokenizer, source, device)
    if sft and demonstrations is None:
        raise UserError("warm_start.method=sft needs --demonstrations")
    examples = _examples(settings, demonstrations, tokenizer) if sft and demonstrations else None
    withdraw_manifest(folder)
    if examples and demonstrations:
        identity = {
            "settings": stage_digest(settings, "warmstart"),
            "demonstrations": sha256_file(demonstrations),
            "tokenizer": {name: sha256_file(source / name) for name in TOKENIZER_FILES if (source / name).exists()},
        }
        checkpoint.begin(folder / "checkpoints", identity)
        started -= _train(settings, decoder, *examples, folder, device, notice)
    end = int(tokenizer.eos_token_id)
    pad = int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end)
    save_decoder(decoder, folder / "model", source, end, pad, dict(merged_weights(decoder)))
    checkpoint.clear(folder / "checkpoints")
    facts = {key: sha256_file(folder / file) for key, file in further.items()}
    write_manifest(folder, settings, data_root, inputs, started, files_of(folder / "model"), facts, data=data)


def _initial_decoder(settings: RunSettings, tokenizer: Any, source: Path, device: str) -> Decoder:
    if settings.model.scratch is None:
        sft = settings.warm_start.method == "sft"
        decoder = load_decoder(source, device, torch.float32 if sft else None)  # a copy is what the files are
        if sft:
            adapt(decoder, settings.model.lora, stream(settings, "adapters"))
        return decoder
    sizes = settings.model.scratch
    decoder = Decoder(
        DecoderShape(
            vocab_size=len(tokenizer),
            hidden_size=sizes.hidden,
            intermediate_size=sizes.intermediate,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.heads,
            max_position_embeddings=settings.prompt.max_tokens + settings.decoding.max_response_tokens,
            rope_theta=10000.0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        )
    )
    decoder.initialize(torch.Generator().manual_seed(seed_number(stream(settings, "initialization"))))
    return decoder.to(device)


def _examples(settings: RunSettings, path: Path, tokenizer: Any) -> tuple[list[Example], list[Example]]:
    """(training, held-out) examples; whole episodes are held out."""
    rows = read_demonstrations(path)
    tasks = sorted({row.task for row in rows})
    random = generator([settings.demonstrations.seed, STREAMS["held out"]])
    held = set(random.permutation(tasks)[: math.ceil(settings.warm_start.held_out * len(tasks))].tolist())
    if held.issuperset(tasks):
        raise UserError(
            f"{path}: warm_start.held_out={settings.warm_start.held_out} keeps all of its {len(tasks)} episodes from "
            "training; lower it, or raise demonstrations.tasks"
        )
    before, after = chat_frame(tokenizer, Chat.of(settings.prompt))
    # batched: the tokenizer's own parallel encoding is an order of magnitude faster than one call per text
    prompts = tokenizer([before + row.prompt + after for row in rows], add_special_tokens=False)["input_ids"]
    thinking = opens_thought(after)
    texts = [continued(row.answer, thinking) for row in rows]
    guided = settings.decoding.mode == "guided"
    answers = answer_tokens(tokenizer, texts) if guided else tokenizer(texts, add_special_tokens=False)["input_ids"]
    parts: tuple[list[Example], list[Example]] = ([], [])
    longest, shortened, left_out, limit = 0, 0, 0, settings.prompt.max_tokens
    for row, whole, answer in zip(rows, prompts, answers, strict=True):
        prompt = whole
        if len(whole) > limit:
            prompt, shortened = tokenizer.encode(before + row.shorter + after, add_special_tokens=False), shortened + 1
        if len(prompt) > limit:
            left_out += 1
            continue
        tokens = np.array([*prompt, *answer, tokenizer.eos_token_id], dtype=np.int32)
        longest = max(longest, len(prompt))
        parts[row.task in held].append(Example(tokens, len(prompt)))
    if left_out:
        log.warning(
            "%d of %d turns are left out: even without history their prompts exceed prompt.max_tokens=%d; raise it to "
            "learn from them",
            left_out,
            len(rows),
            limit,
        )
    if len(parts[0]) < settings.warm_start.batch_turns:
        raise UserError(
            f"{path}: has {len(parts[0])} turns to train on, fewer than warm_start.batch_turns="
            f"{settings.warm_start.batch_turns} ({left_out} prompts over prompt.max_tokens={limit} are "
            "left out); lower the one, raise the other, or raise demonstrations.tasks"
        )
    log.info("%d training turns, %d held out; longest prompt %d tokens", len(parts[0]), len(parts[1]), longest)
    if shortened:
        log.info("%d prompts lost their history to stay within prompt.max_tokens=%d", shortened, limit)
    return parts


def _train(
    settings: RunSettings,
    decoder: Decoder,
    train: Sequence[Example],
    held_out: Sequence[Example],
    folder: Path,
    device: str,
    notice: Notice,
) -> float:
    """Learn from where a checkpoint left off; seconds that earlier attempts took."""
    sft = settings.warm_start
    trained = dict(trainable(decoder))  # what is frozen is in the folder that the model came from
    parameters = [*trained.values()]
    optimizer = torch.optim.AdamW(parameters, lr=sft.learning_rate, weight_decay=sft.weight_decay, foreach=True)
    first, losses = 0, []
    if loaded := checkpoint.load_latest(folder / "checkpoints"):
        first, state = loaded
        decoder.load_state_dict(state["decoder"], strict=False)
        optimizer.load_state_dict(state["optimizer"])
        losses = state["losses"]  # since the last row of metrics
        log.info("resuming at step %d of %d", first, sft.steps)
    metrics = MetricsLog(folder, "step", keep=first)
    progress = Progress("warm start", sft.steps, first)
    logged = _logged(sft.steps)
    for step in range(first, sft.steps):
        for group in optimizer.param_groups:
            group["lr"] = sft.learning_rate * _schedule(step, sft.warmup_steps, sft.steps)
        batch = [train[i] for i in _draw(settings, len(train), step)]
        optimizer.zero_grad(set_to_none=True)
        losses.append(_accumulate(decoder, batch, settings, device))
        torch.nn.utils.clip_grad_norm_(parameters, settings.training.gradient_clip)
        optimizer.step()
        done = step + 1
        if done in logged:
            row = {"step": done, "sft/loss": round(sum(losses) / len(losses), 6)}
            if held_out and (done % 200 == 0 or done == sft.steps):
                row["sft/held_out_loss"] = round(_evaluate(decoder, held_out, settings, device), 6)
            metrics.write(row)
            progress.show(done, f"loss {row['sft/loss']:.3f}")
            losses = []
        stopping = notice.given
        if done < sft.steps and (stopping or done % sft.checkpoint_every == 0):
            weights = {name: parameter.detach() for name, parameter in trained.items()}
            state = {"decoder": weights, "optimizer": optimizer.state_dict(), "losses": losses}
            checkpoint.save(folder / "checkpoints", done, state)
        if done < sft.steps and stopping:
            raise Interrupted(f"{notice}: stopped after step {done} of {sft.steps}")
    metrics.require(logged)
    return metrics.before


def _logged(steps: int) -> list[int]:
    """The steps after which a row of metrics is written."""
    return [*range(METRICS_EVERY, steps, METRICS_EVERY), steps]


def _schedule(step: int, warmup: int, total: int) -> float:
    """Linear warm-up, then linear decay to a tenth."""
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 - 0.9 * (step - warmup) / max(1, total - warmup)


def _draw(settings: RunSettings, count: int, step: int) -> npt.NDArray[np.int64]:
    """The examples of one step: seeded epochs without repetition, a function of the step alone."""
    size = min(settings.warm_start.batch_turns, count)
    per_epoch = count // size
    epoch, place = divmod(step, per_epoch)
    order = generator(stream(settings, "sft", epoch)).permutation(count)
    return order[place * size : (place + 1) * size]


def _accumulate(
    decoder: Decoder, batch: Sequence[Example], settings: RunSettings, device: str, train: bool = True
) -> float:
    """Mean cross-entropy over the response tokens of `batch`; with `train`, also its gradient."""
    count = sum(len(example.tokens) - example.start for example in batch)
    total = 0.0
    lengths = np.array([len(example.tokens) for example in batch])
    autocast = settings.engine.dtype == "bfloat16"
    for group in micro_batches(lengths, settings.training.micro_batch_tokens):
        rows = [batch[i] for i in group]
        wanted = [np.arange(row.start - 1, len(row.tokens) - 1) for row in rows]
        targets = torch.as_tensor(
            np.concatenate([row.tokens[row.start :] for row in rows]), dtype=torch.long, device=device
        )
        with (
            torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=autocast),
            torch.set_grad_enabled(train),
        ):
            hidden, _ = decoder.model.hidden(Packing.of([row.tokens for row in rows], wanted, device))
            _, missed = decoder.over_logits(hidden, partial(_missed, targets))
        loss = missed / count
        if train:
            loss.backward()
        total += float(loss.detach())
    return total


def _missed(targets: torch.Tensor, logits: torch.Tensor, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Nothing for each row; the cross-entropy at these rows of the `targets`, summed."""
    return logits.new_zeros(0), torch.nn.functional.cross_entropy(logits, targets[rows], reduction="sum")


def _evaluate(decoder: Decoder, held_out: Sequence[Example], settings: RunSettings, device: str) -> float:
    return _accumulate(decoder, held_out, settings, device, train=False)
