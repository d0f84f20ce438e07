"""The stages that need torch and numpy alone: of this project they use the decoder and what the plan counts.

Weights are random and are made on the device. A time is the median of several, the first left out, each with the device
idle before and after.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dev.gpu.worker import TINY, Report, Sizes, said
from hiper.learning import elementwise
from hiper.learning.decoder import Decoder, DecoderShape, Packing
from hiper.learning.packed_attention import attend_packed, takes_packed
from hiper.planning.hardware import card_called
from hiper.planning.memory import LOGIT_BYTES, activation_bytes, rows_at_once
from hiper.planning.shapes import PUBLISHED, ModelShape, forward_operations

FEWEST, MOST, ENOUGH = 3, 20, 2.0  # times, and seconds after which no further one begins
FORWARD_AND_BACKWARD = 3.0  # in units of a forward pass
TOP = 20  # kernels of a profile
HEADS = {"1.5B": (12, 2, 128), "7B": (28, 4, 128)}  # of queries, of keys and values, size
TINY_HEADS = {TINY: (4, 2, 16)}
COPIED = {"cuda": 1 << 30, "cpu": 1 << 22}  # bytes


def shape_of(model: str) -> DecoderShape:
    """The sizes of a model with that name."""
    rest: dict[str, Any] = {"max_position_embeddings": 32_768, "rope_theta": 1e6, "rms_norm_eps": 1e-6}
    sizes = vars(PUBLISHED[model]) if model != TINY else vars(ModelShape(512, 64, 160, 2, 4, 2, True))
    return DecoderShape(**sizes, **rest)


def build(shape: DecoderShape, device: str) -> Decoder:
    """Random float32 weights, as training has them, on the device from the start."""
    with torch.device(device):
        decoder = Decoder(shape)
    decoder.initialize(torch.Generator(device).manual_seed(0), 0.02)
    return decoder


class Batch:
    """`rows` of `length` random tokens, the last `answer` of each read out."""

    def __init__(self, rows: int, length: int, answer: int, vocabulary: int, device: str) -> None:
        tokens = np.random.default_rng(0).integers(0, vocabulary, (rows, length))
        before = np.arange(length - answer - 1, length - 1)
        self.packing = Packing.of(list(tokens), [before] * rows, device)
        self.taken = torch.as_tensor(tokens[:, length - answer :].reshape(-1, 1), device=device)
        self.rows, self.length, self.answer = rows, length, answer

    @property
    def tokens(self) -> int:
        return self.rows * self.length

    def operations(self, shape: DecoderShape) -> float:
        """Floating-point operations of a forward and a backward pass, nothing computed again."""
        forward = forward_operations(ModelShape.of(shape), self.tokens, self.length / 2, self.rows * self.answer)
        return FORWARD_AND_BACKWARD * forward

    def backward(self, decoder: Decoder, device: str) -> None:
        """Loss and gradients, as training makes them: log probabilities of the answers under bfloat16 autocast."""
        decoder.zero_grad(set_to_none=True)

        def read(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            taken = logits.log_softmax(-1).gather(1, self.taken[rows]).squeeze(1)
            return taken, logits.new_zeros(())

        with torch.autocast(device, dtype=torch.bfloat16):
            hidden, _ = decoder.model.hidden(self.packing)
            single, _ = decoder.over_logits(hidden, read)
        (-single.mean()).backward()


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], device: str) -> float:
    """Median seconds of doing it, after once without a clock."""
    work()
    wait(device)
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < FEWEST or (len(found) < MOST and time.perf_counter() - began < ENOUGH):
        start = time.perf_counter()
        work()
        wait(device)
        found.append(time.perf_counter() - start)
    return median(found)


def peak_of(work: Callable[[], Any], device: str) -> float | None:
    """Bytes of the card that doing it takes beyond those there before; None on a CPU."""
    if device != "cuda":
        work()
        return None
    free()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    wait(device)
    return float(torch.cuda.max_memory_allocated() - before)


def free() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_rate(device: str) -> float | None:
    """Operations per second that the card could make in bfloat16; None for one not known here."""
    card = card_called(torch.cuda.get_device_name()) if device == "cuda" else None
    return None if card is None else card.flops


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


@contextmanager
def compiled(device: str) -> Iterator[None]:
    """With `engine.compile`."""
    elementwise.compile_functions(device, repeatable=device == "cpu")
    try:
        yield
    finally:
        elementwise.compute_eagerly()


def machine(device: str, sizes: Sizes, report: Report) -> None:
    """What this is measured on."""
    report(python=platform.python_version(), torch=torch.__version__, cuda=torch.version.cuda, cores=os.cpu_count())
    if device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        capability = f"{facts.major}.{facts.minor}"
        report(card=facts.name, memory_gb=rounded(facts.total_memory / 1e9), capability=capability, driver=_driver())
    report(peak_tflops=None if (peak := peak_rate(device)) is None else peak / 1e12)
    with torch.device(device):
        halves = torch.zeros(8, 2, 64, dtype=torch.bfloat16)
    report(attention_by_lengths=takes_packed(halves))


def _driver() -> str | None:
    """The driver's version, by its own tool."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return None
    asked = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or None


def products(device: str, sizes: Sizes, report: Report) -> None:
    """Operations per second of the products of one layer and of the output matrix; bytes per second of copies."""
    shape, tokens = shape_of(sizes.model), sizes.rows * sizes.length
    hidden, wide = shape.hidden_size, shape.intermediate_size
    keys = shape.num_key_value_heads * shape.head_size
    sides = {"q": (hidden, shape.query_size), "k": (hidden, keys), "up": (hidden, wide), "down": (wide, hidden)}
    sides["output"] = (hidden, shape.vocab_size)
    found = {}
    for name, (inner, outer) in sides.items():
        rows = sizes.rows * sizes.answer if name == "output" else tokens
        left = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
        right = torch.randn(outer, inner, device=device, dtype=torch.bfloat16)
        seconds = seconds_of(partial(F.linear, left, right), device)
        found[name] = rounded(2 * rows * inner * outer / seconds / 1e12)
    report(products_tflops=found)
    host = torch.empty(COPIED[device], dtype=torch.uint8, pin_memory=device == "cuda")
    there, other = (torch.empty(COPIED[device], dtype=torch.uint8, device=device) for _ in range(2))
    copies = {"on_device": (other, there), "to_device": (there, host), "to_host": (host, there)}
    rates = {}
    for name, (into, source) in copies.items():
        seconds = seconds_of(partial(into.copy_, source, non_blocking=True), device)
        rates[name] = rounded(COPIED[device] / seconds / 1e9)
    report(copies_gb_per_second=rates)


def attention(device: str, sizes: Sizes, report: Report) -> None:
    """Forward and backward of causal attention over rows of several lengths, three ways."""
    random = np.random.default_rng(0)
    lengths = random.integers(sizes.length // 2, sizes.length + 1, sizes.rows)
    for name, (heads, kv_heads, size) in (TINY_HEADS if sizes.model == TINY else HEADS).items():
        total = int(lengths.sum())
        packing = Packing.of([np.zeros(n, np.int64) for n in lengths], [[0]] * len(lengths), device)
        shapes = ((total, heads, size), (total, kv_heads, size), (total, kv_heads, size))
        values = [torch.randn(s, device=device, dtype=torch.bfloat16).requires_grad_() for s in shapes]
        ways: dict[str, Callable[..., Tensor]] = {"padded": partial(_padded, packing)}
        if takes_packed(values[0]):
            ways["by_lengths"] = lambda q, k, v: attend_packed(q, k, v, packing.starts, packing.longest)  # noqa: B023
        if device == "cuda":
            ways["compiled"] = _flexible(packing, total)
        expected: Tensor | None = None
        for way, attend in ways.items():

            def once(attend: Callable[..., Tensor] = attend, values: list[Tensor] = values) -> Tensor:
                attended = attend(*values)
                torch.autograd.grad(attended.float().square().mean(), values)
                return attended.detach()

            try:
                found = once()
                expected = found if expected is None else expected
                seconds, difference = seconds_of(once, device), float((found - expected).abs().max())
            except Exception as error:  # the compiler may not work here; the other ways do
                report(**{f"{name}_{way}": said(error)})
                continue
            report(**{f"{name}_{way}": {"seconds": rounded(seconds), "largest_difference": rounded(difference, 2)}})


def _padded(packing: Packing, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As the decoder attends where there is no kernel for sequences of several lengths."""

    def spread(flat: Tensor) -> Tensor:
        out = flat.new_zeros(len(packing.length), flat.shape[1], packing.longest, flat.shape[2])
        out[packing.sequence, :, packing.position] = flat
        return out

    queries, keys, values = (spread(part) for part in (q, k, v))
    attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    return attended[packing.sequence, :, packing.position]


def _flexible(packing: Packing, total: int) -> Callable[..., Tensor]:
    """torch's attention that is compiled for a mask: one row of all tokens, each seeing its own sequence's."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (packing.sequence[query] == packing.sequence[key]) & (query >= key)

    mask = create_block_mask(seen, None, None, total, total, device=str(packing.tokens.device))
    made = torch.compile(flex_attention)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = (part.transpose(0, 1)[None] for part in (q, k, v))
        attended: Tensor = made(*rows, block_mask=mask, enable_gqa=True)
        return attended[0].transpose(0, 1)

    return attend


def decoder(device: str, sizes: Sizes, report: Report) -> None:
    """The model's training pass, eager and with `engine.compile`."""
    shape = shape_of(sizes.model)
    model, peak = build(shape, device), peak_rate(device)
    batch = Batch(sizes.rows, sizes.length, sizes.answer, shape.vocab_size, device)
    report(eager=_pass(model, batch, shape, device, peak))
    with compiled(device):
        report(compiled=_pass(model, batch, shape, device, peak))


def _pass(model: Decoder, batch: Batch, shape: DecoderShape, device: str, peak: float | None) -> dict[str, Any]:
    """Seconds, tokens per second, MFU of a forward and a backward pass."""
    seconds = seconds_of(partial(batch.backward, model, device), device)
    reached = None if peak is None else batch.operations(shape) / seconds / peak
    rate = batch.tokens / seconds
    return {"seconds": rounded(seconds), "tokens_per_second": rounded(rate), "mfu": rounded(reached, 3)}


def options(device: str, sizes: Sizes, report: Report) -> None:
    """Deterministic operations and recomputed activations, each on and off; then a profile without both."""
    shape = shape_of(sizes.model)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.utils.deterministic.fill_uninitialized_memory = False  # as training has it
    model, peak = build(shape, device), peak_rate(device)
    batch = Batch(sizes.rows, sizes.length, sizes.answer, shape.vocab_size, device)
    for deterministic, recomputing in product((False, True), repeat=2):
        torch.set_deterministic_debug_mode("warn" if deterministic else "default")
        model.model.checkpointing = recomputing
        name = f"deterministic_{deterministic}_recomputing_{recomputing}".lower()
        found = _pass(model, batch, shape, device, peak)
        memory = peak_of(partial(batch.backward, model, device), device)
        report(**{name: found | {"peak_gb": rounded(None if memory is None else memory / 1e9)}})
    torch.set_deterministic_debug_mode("default")
    model.model.checkpointing = False
    report(kernels=_kernels(partial(batch.backward, model, device), device))


def _kernels(work: Callable[[], Any], device: str) -> list[dict[str, Any]]:
    """What takes longest, as a share of all."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CUDA] if device == "cuda" else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiler:
        work()
        wait(device)
    times = {
        event.key: event.self_device_time_total if device == "cuda" else event.self_cpu_time_total
        for event in profiler.key_averages()
    }
    whole = sum(times.values()) or 1.0
    largest = sorted(times.items(), key=lambda pair: -pair[1])[:TOP]
    return [{"kernel": name[:80], "share": rounded(spent / whole, 3)} for name, spent in largest]


def memory(device: str, sizes: Sizes, report: Report) -> None:
    """Peak memory of a micro-batch beyond the weights, with and without recomputing, and what the plan counts."""
    shape = shape_of(sizes.model)
    model = build(shape, device)
    weights = sum(parameter.numel() for parameter in model.parameters())
    for budget, recomputing in product(sizes.budgets, (True, False)):
        model.model.checkpointing = recomputing
        batch = Batch(max(1, budget // sizes.length), sizes.length, sizes.answer, shape.vocab_size, device)
        read = min(batch.rows * batch.answer, rows_at_once(shape.vocab_size))
        activations = batch.tokens * activation_bytes(ModelShape.of(shape), recomputing)
        # gradients in float32 and a bfloat16 copy of the weights stand beside them
        planned = activations + LOGIT_BYTES * read * shape.vocab_size + 6.0 * weights
        figures: dict[str, Any] = {"planned_gb": rounded(planned / 1e9)}
        model.zero_grad(set_to_none=True)
        try:
            measured = peak_of(partial(batch.backward, model, device), device)
            figures["measured_gb"] = rounded(None if measured is None else measured / 1e9)
        except torch.OutOfMemoryError:
            figures["measured_gb"] = "out of memory"
        report(**{f"{batch.tokens}_tokens_{'recomputed' if recomputing else 'kept'}": figures})


def read_outs(device: str, sizes: Sizes, report: Report) -> None:
    """Log probabilities and their gradients at some positions: in the decoder's chunks, and all logits at once."""
    shape = shape_of(sizes.model)
    output = build(shape_with(shape, 1), device)
    for count in sizes.read_outs:
        hidden = torch.randn(count, shape.hidden_size, device=device, requires_grad=True)
        taken = torch.zeros(count, 1, dtype=torch.int64, device=device)

        def chunks(hidden: Tensor = hidden, taken: Tensor = taken) -> Tensor:
            def read(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
                return logits.log_softmax(-1).gather(1, taken[rows]).squeeze(1), logits.new_zeros(())

            return output.over_logits(hidden, read)[0]

        def at_once(hidden: Tensor = hidden, taken: Tensor = taken) -> Tensor:
            return output.logits(hidden).log_softmax(-1).gather(1, taken).squeeze(1)

        for name, way in (("in_chunks", chunks), ("at_once", at_once)):

            def work(way: Callable[[], Tensor] = way, hidden: Tensor = hidden) -> None:
                with torch.autocast(device, dtype=torch.bfloat16):
                    found = way()
                torch.autograd.grad(found.mean(), [hidden, output.lm_head.weight])

            figures = {"seconds": rounded(seconds_of(work, device))}
            peak = peak_of(work, device)
            report(**{f"{count}_{name}": figures | {"peak_gb": rounded(None if peak is None else peak / 1e9)}})


def shape_with(shape: DecoderShape, layers: int) -> DecoderShape:
    """The same model with fewer layers."""
    return DecoderShape(**{**vars(shape), "num_hidden_layers": layers})


def large(device: str, sizes: Sizes, report: Report) -> None:
    """The larger model's training pass, with bfloat16 weights as its sharded runs have them."""
    shape = shape_of(sizes.large)
    model, peak = build(shape, device).bfloat16(), peak_rate(device)
    model.model.checkpointing = True
    rows = max(1, math.floor(sizes.budgets[0] / sizes.length))
    batch = Batch(rows, sizes.length, sizes.answer, shape.vocab_size, device)
    report(eager=_pass(model, batch, shape, device, peak))
    if sizes.large != sizes.model:
        with compiled(device):
            report(compiled=_pass(model, batch, shape, device, peak))
