"""`hiper plan` counts right: published parameter counts, worked arithmetic, and what the real decoder really keeps."""

from __future__ import annotations

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiper.cli.main import main
from hiper.compose import RunName, compose_run
from hiper.config import parse_run
from hiper.planning.assumptions import Assumptions
from hiper.planning.files import checkpoint_seconds, checkpoints_of, run_files, saved_bytes, waiting_seconds
from hiper.planning.hardware import CARDS, Card
from hiper.planning.host import Host, loading_bytes, training_host
from hiper.planning.memory import (
    AUTOCAST,
    LOGIT_BYTES,
    LOGITS,
    MIXED,
    Layout,
    Memory,
    activation_bytes,
    estimate,
    playing_bytes,
)
from hiper.planning.shapes import (
    PUBLISHED,
    Counted,
    Models,
    ModelShape,
    Weights,
    adapter_parameters,
    backbone_parameters,
    cache_bytes,
    forward_operations,
    parameters,
    product_parameters,
)
from hiper.planning.step import (
    Episodes,
    Passes,
    Rates,
    Sampler,
    generation_seconds,
    offloaded_seconds,
    passes,
    step,
    transferred_seconds,
)
from hiper.views.estimates import Plan, plan_of, plans, split_size
from hiper.views.plan import jobs, show
from hiper.views.terminal import console

ROOT = Path(__file__).resolve().parents[2]
# products: 2 layers · (2·4² + 2·4·2 + 3·4·6) = 2 · (32 + 16 + 72) = 240; vocabulary 10 · 4 = 40
# biases and norms: 2 · (4 + 2·2 + 2·4) + 4 = 36
SMALL = ModelShape(10, 4, 6, 2, 2, 1, True)


@pytest.mark.parametrize(
    ("model", "published"),
    [("0.5B", 494_032_768), ("1.5B", 1_543_714_304), ("7B", 7_615_616_512)],
)
def test_parameters_are_as_published(model: str, published: int) -> None:
    """The counts that the hub shows beside the three models."""
    assert parameters(PUBLISHED[f"Qwen/Qwen2.5-{model}-Instruct"]) == published


def test_parameters_by_hand() -> None:
    """Tied weights count once; an output matrix of its own adds a vocabulary."""
    assert product_parameters(SMALL) == 240
    assert parameters(SMALL) == backbone_parameters(SMALL) == 240 + 40 + 36
    untied = replace(SMALL, tie_word_embeddings=False)
    assert parameters(untied) == 240 + 40 + 36 + 40 and backbone_parameters(untied) == 240 + 40 + 36


@pytest.mark.parametrize("tied", [True, False])
def test_the_real_decoder_has_as_many(tied: bool) -> None:
    """Counting agrees with the parameters that torch would make."""
    import torch

    from hiper.learning.decoder import Decoder, DecoderShape

    shape = ModelShape(500, 24, 56, 3, 6, 2, tied)
    with torch.device("meta"):
        decoder = Decoder(DecoderShape(500, 24, 56, 3, 6, 2, tied, 64, 1e4, 1e-6))
    assert parameters(shape) == sum(parameter.numel() for parameter in decoder.parameters())
    assert backbone_parameters(shape) == sum(parameter.numel() for parameter in decoder.model.parameters())


def test_the_cache_holds_the_heads_of_keys_and_values_only() -> None:
    """1.5B: 2 · 28 layers · 2 heads · 128 numbers of 2 bytes = 28,672; ungrouped (12 heads) six times that."""
    shape = PUBLISHED["Qwen/Qwen2.5-1.5B-Instruct"]
    assert cache_bytes(shape) == 28_672 and cache_bytes(shape, 4) == 57_344
    assert cache_bytes(replace(shape, num_key_value_heads=12)) == 6 * 28_672
    assert cache_bytes(PUBLISHED["Qwen/Qwen2.5-7B-Instruct"]) == 2 * 28 * 4 * 128 * 2


def test_operations_of_a_forward_pass_by_hand() -> None:
    """3 tokens that see 5 others, logits at 2: 3 · (2·240 + 4·2·4·5) + 2·2·40 = 3 · 640 + 160."""
    assert forward_operations(SMALL, 3, 5, 2) == 3 * 640 + 160


def test_stages_of_zero_share_out_one_thing_after_the_other() -> None:
    """100 parameters on 4 GPUs, bfloat16 with float32 optimiser: 1,800, then 900, 600 and 450 bytes."""
    expected = [1800, 100 * (2 + 4 + 3), 100 * (2 + 1 + 3), 100 * (0.5 + 1 + 3)]
    layouts = [Layout(MIXED, 4, stage, False, False) for stage in range(4)]
    assert [layout.state(Weights(100)) for layout in layouts] == expected
    assert [layout.frozen(100) for layout in layouts] == [200, 200, 200, 50]
    offloaded = Layout(MIXED, 4, 2, True, False)
    assert offloaded.state(Weights(100)) == 100 * 2 and offloaded.host(100) == 100 * (4 + 12)
    assert Layout(AUTOCAST, 1, 0, False, False).state(Weights(100)) == 100 * (4 + 2 + 4 + 8)


def test_what_is_frozen_has_neither_gradients_nor_an_optimiser() -> None:
    """10 trained parameters beside 100 frozen ones: 2 bytes each shared out by ZeRO 3, 16 more for the trained; without
    DeepSpeed 6 each, 12 more."""
    weights = Weights(trained=10, frozen=100)
    assert Layout(MIXED, 4, 3, False, False).state(weights) == 110 * 2 / 4 + 10 * 16 / 4
    assert Layout(MIXED, 4, 2, False, False).state(weights) == 110 * 2 + 10 * 16 / 4
    assert Layout(AUTOCAST, 1, 0, False, False).state(weights) == 110 * 6 + 10 * 12


def test_adapters_replace_all_weights_of_actor_and_critic() -> None:
    """Rank 3 in 2 layers: q and o 4 + 4, k and v 4 + 2, gate, up and down 4 + 6, times 3 · 2 = 348; a critic that is
    not there has none."""
    assert adapter_parameters(SMALL, 3) == 2 * 3 * (2 * 8 + 2 * 6 + 3 * 10)
    adapted = Models(replace(SMALL, tie_word_embeddings=False), True, True, 3)
    assert adapted.actor == Weights(348, 356) and adapted.critic == Weights(348, 316)
    assert adapted.trained == 696
    assert Models(SMALL, True, False, 3).critic == Weights() and Models(SMALL, True, True).critic == Weights(316)


def test_a_critics_trunk_has_the_parameters_of_its_blocks() -> None:
    """Of two layers one, with the embeddings and the last norm: 120 + 40 + 16 + 4; in files and memory nothing else of
    the critic counts, and a pass through it is half of one."""
    models = Models(SMALL, True, True, critic_blocks=1)
    assert models.critic == Weights(180) and models.actor == Weights(316) and models.trained == 496
    assert replace(models, rank=3).critic == Weights(174, 180)
    assert saved_bytes(models) == 4 * 496
    layout = Layout(MIXED, 1, 0, False, True)
    assert estimate(models, layout, 8, 2, 0.0).critic == 180 * 18
    usual = {"heads": True, "detached": False, "reference": True, "epochs": 1, "critic_epochs": 2, "again": False}
    assert passes(**usual, critic_share=0.5) == Passes(1.5, 3.0, 3.0)


def test_a_trunk_is_counted_as_it_is_made() -> None:
    """Counting agrees with the parameters of the real backbone that is left, for an experiment's plan, too."""
    from hiper.learning.decoder import Backbone, DecoderShape

    backbone = Backbone(DecoderShape(500, 24, 56, 3, 6, 2, True, 64, 1e4, 1e-6))
    backbone.keep_first(2)
    counted = Models(ModelShape(500, 24, 56, 3, 6, 2, True), False, True, critic_blocks=2).critic
    assert counted == Weights(sum(parameter.numel() for parameter in backbone.parameters()))
    name = RunName("alfworld_small", "tiny", "hiper", 0)
    values = compose_run("demo", str(name), ROOT).model_dump()
    values["training"]["critic"] |= {"backbone": "separate", "detach": False, "trunk_blocks": 1}
    plan = plan_of(name, parse_run(values, "demo"), Assumptions())
    assert plan is not None and plan.models.critic_blocks == 1 and plan.passes.critic == 3 * 4 * 0.5


def test_the_real_adapters_have_as_many() -> None:
    """Counting agrees with the parameters that `hiper.learning.lora` adds."""
    from hiper.config import Lora
    from hiper.learning.decoder import Decoder, DecoderShape
    from hiper.learning.lora import adapt, trainable

    decoder = Decoder(DecoderShape(50, 24, 56, 3, 6, 2, True, 64, 1e4, 1e-6))
    adapt(decoder, Lora(rank=5, alpha=10.0), [0])
    counted = Models(ModelShape(50, 24, 56, 3, 6, 2, True), False, False, 5).actor
    assert counted.trained == sum(parameter.numel() for _, parameter in trainable(decoder))
    assert counted.whole == sum(parameter.numel() for parameter in decoder.parameters())


def test_peak_memory_adds_what_is_there_at_the_same_time() -> None:
    """Actor, critic and reference stay; of updating and playing the larger counts; of many read-outs a chunk."""
    layout = Layout(MIXED, 1, 0, False, True)
    models = Models(SMALL, reference=True, own_critic=True)
    found = estimate(models, layout, budget=8, read_out=2, generation=playing_bytes(SMALL, 3, 7, 2, 2))
    assert (found.actor, found.critic, found.reference) == (316 * 18, 316 * 18, 316 * 2)
    assert found.training == 8 * activation_bytes(SMALL, True) + LOGIT_BYTES * 2 * 10
    assert found.generation == 316 * 2 + 3 * 7 * cache_bytes(SMALL)
    assert found.peak == found.resident + max(found.training, found.generation)
    many = estimate(models, layout, budget=8, read_out=1e9, generation=0.0)
    assert many.training == 8 * activation_bytes(SMALL, True) + LOGIT_BYTES * (LOGITS // 10) * 10  # a chunk of them
    alone = estimate(Models(SMALL, False, False), layout, 8, 2, playing_bytes(SMALL, 3, 7, 0, 2))
    assert alone.resident == 316 * 18 and alone.generation == 3 * 7 * cache_bytes(SMALL)


@pytest.mark.parametrize(
    ("hidden", "intermediate", "heads", "kv_heads", "rank"),
    [(256, 1024, 4, 2, 0), (384, 2240, 6, 1, 0), (256, 1024, 4, 2, 48)],
)
def test_activations_are_what_the_decoder_keeps(
    hidden: int, intermediate: int, heads: int, kv_heads: int, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that autograd saves in four further layers, bfloat16 copies of weights left out, to 1 %: all weights
    trained, and adapters. Attention is that of torch's fused kernel, as on GPUs; in blocks it keeps 3 % less."""
    import torch

    monkeypatch.setattr("hiper.learning.decoder.takes_blocked", lambda values: False)

    def kept(layers: int) -> float:
        """Bytes per token, weights and copies of them left out."""
        from hiper.config import Lora
        from hiper.learning.decoder import Decoder, DecoderShape, Packing
        from hiper.learning.lora import adapt

        decoder = Decoder(DecoderShape(100, hidden, intermediate, layers, heads, kv_heads, True, 512, 1e4, 1e-6))
        adapt(decoder, Lora(rank=rank, alpha=1.0) if rank else None, [0])
        weights = {tuple(sorted(parameter.shape)) for parameter in decoder.parameters()}
        rows = [np.arange(90, dtype=np.int64) for _ in range(7)]
        sizes: dict[int, int] = {}
        tensors = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if tuple(sorted(tensor.shape)) not in weights:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                tensors.append(tensor)  # a freed one's address would be used again
            return tensor

        saved = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with saved, torch.autocast("cpu", dtype=torch.bfloat16):
            decoder.model.hidden(Packing.of(rows, [[80]] * len(rows)))
        return sum(sizes.values()) / sum(map(len, rows))

    shape = ModelShape(100, hidden, intermediate, 1, heads, kv_heads, True)
    assert (kept(6) - kept(2)) / 4 == pytest.approx(activation_bytes(shape, False, rank), rel=0.01)


def test_checkpointing_keeps_a_row_per_layer_and_one_layer() -> None:
    """4 · 4 bytes in each of 2 layers, and the largest: 32·4 + 4·2 + 8·6 = 184."""
    assert activation_bytes(SMALL, True) == 2 * 16 + 184
    assert activation_bytes(SMALL, False) == 2 * 184


def test_passes_of_a_step() -> None:
    """Forward and backward are three passes, four with activations computed again; no heads, no critic."""
    usual = {"heads": True, "detached": False, "reference": True, "epochs": 1, "critic_epochs": 2, "again": False}
    assert passes(**usual) == Passes(2.0, 6.0, 3.0)
    assert passes(**{**usual, "again": True, "reference": False}) == Passes(1.0, 8.0, 4.0)
    assert passes(**{**usual, "heads": False}) == Passes(1.0, 0.0, 3.0)
    assert passes(**{**usual, "detached": True}) == Passes(1.0, 0.0, 3.0)
    assert passes(**usual, rescored=True) == Passes(3.0, 6.0, 3.0)
    assert passes(**{**usual, "adapters": True}) == Passes(2.0, 4.0, 2.0)
    assert passes(**{**usual, "adapters": True, "again": True}) == Passes(2.0, 6.0, 3.0)


def test_an_offloaded_optimiser_takes_the_hosts_time() -> None:
    """2·10⁹ parameters, 3 updates, 5 ns of a core each, 4 cores."""
    assert offloaded_seconds(2 * 10**9, 3, 4, 5.0) == pytest.approx(7.5)


def test_an_offloaded_optimiser_travels() -> None:
    """Half of 4·10⁹ parameters each, 3 rounds there and back in 4 bytes, 2 updates of 2 bytes, at 10 GB/s."""
    assert transferred_seconds(4 * 10**9, 3, 2, 2, 10e9) == pytest.approx(2 * (3 * 8 + 2 * 2) / 10)


def test_checkpoints_take_time_by_their_size_and_number() -> None:
    """632 parameters of 12 bytes over PCIe and to the disk, by two processes at once, the latter beside an iteration
    unless it is offloaded; of 11 iterations of 50 s each but the last, every second, or the first after 2 minutes."""
    found = checkpoint_seconds(Models(SMALL, True, True), 100.0, 50.0, 2)
    assert found == pytest.approx((632 * 6 * 0.01, 632 * 6 * 0.02))
    assert [waiting_seconds(2.0, 9.0, step, False) for step in (5.0, 50.0)] == [6.0, 2.0]
    assert waiting_seconds(2.0, 9.0, 50.0, True) == 11.0
    assert [checkpoints_of(11, every, 0.0, 50.0) for every in (1, 2, 5, 11)] == [10, 5, 2, 0]
    assert [checkpoints_of(11, every, 2.0, 50.0) for every in (1, 2, 5)] == [3, 2, 2]


def test_what_another_arithmetic_drew_is_scored_again() -> None:
    """By vLLM, or in bfloat16; in float32 the sampler's log probabilities are the trainer's."""
    name = RunName("alfworld_small", "tiny", "grpo", 0)
    values = compose_run("demo", str(name), ROOT).model_dump()
    values["training"]["kl"] = 0.0
    found = []
    for dtype in ("float32", "bfloat16"):
        values["engine"]["dtype"] = dtype
        plan = plan_of(name, parse_run(values, "demo"), Assumptions())
        assert plan is not None
        found.append(plan.passes.scoring)
    assert found == [0.0, 1.0]


def test_the_host_reads_models_then_holds_optimiser_and_checkpoint() -> None:
    """316 parameters of 4 bytes: the pages of the file, and in each process the largest weight, 4 · 10, in bfloat16;
    of a class of the library, each has all of it in float32. Then 16 bytes a parameter are offloaded, which are
    written where they lie; what is not offloaded is copied, 12 bytes a parameter, by as many nodes as there are. With
    adapters the saved model is the larger one."""
    models = Models(SMALL, reference=True, own_critic=True)
    assert loading_bytes(models, 4, 2) == 4 * 316 + 4 * 2 * 40
    of_library = replace(SMALL, counted=Counted((120, 120), (16, 16), (0, 0), 4, 0))
    assert loading_bytes(replace(models, shape=of_library), 4, 2) == 4 * 316 + 4 * 4 * 316
    offloading = training_host(models, Layout(MIXED, 4, 3, True, True), 2)
    assert offloading == Host(loading=4 * 316 + 2 * 2 * 40, held=16 * 632 / 2, copied=0, saved=4 * 632)
    assert offloading.peak == 16 * 632 / 2 + 4 * 632
    copying = training_host(models, Layout(MIXED, 4, 3, False, True), 2)
    assert (copying.held, copying.copied) == (0, 12 * 632 / 2) and copying.peak == copying.copied
    validated = training_host(models, Layout(MIXED, 4, 3, False, True), 2, best=True)
    assert validated.peak == 12 * 632 / 2 + 4 * 632
    adapted = Models(PUBLISHED["Qwen/Qwen2.5-0.5B-Instruct"], True, True, 8)
    staying = training_host(adapted, Layout(MIXED, 4, 3, False, True), 1)
    assert (staying.held, staying.saved, staying.peak) == (0, 4 * 2 * 494_032_768, staying.saved)


def test_on_cpus_the_host_also_computes() -> None:
    """Two processes: their parts of three models of 316 weights of 2 bytes are there at last while these are read; then
    what two GPUs would hold, and beside it two passes and a checkpoint of 12 bytes a parameter, copied."""
    models = Models(SMALL, reference=True, own_critic=True)
    found = training_host(models, Layout(MIXED, 2, 3, False, True), 1, Memory(300.0, 200.0, 50.0, 2000.0, 1000.0))
    assert found == Host(
        4 * 316 + 2 * 2 * 40 + 3 * 316 * 2, held=1100.0, copied=12 * 632, saved=4 * 632, computed=4000.0
    )
    assert found.peak == 1100 + 12 * 632 + 4000


CARD = Card("round", flops=1000.0, single=100.0, bandwidth=10.0, memory=1.0)
PLAYED = Episodes(count=4, turns=2.0, longest=3.0, prompt=6.0, response=2.0, longest_response=5.0)


def test_generation_reads_weights_once_a_token_step() -> None:
    """3 turns of 5 steps read 316 weights of 2 bytes, 16 tokens read 7 others of 16 bytes, at half of 10 B/s; two GPUs
    share the rows and not the weights."""
    rates = Rates(mfu=0.5, bandwidth=0.5, turn_seconds=0.25, cached=0.5)
    prefill, decoding, between = generation_seconds(SMALL, PLAYED, Sampler(2, 2, False), CARD, 2, rates)
    # 4 · 2 turns of 6 tokens, half of them cached: 24 tokens, each sees 3 others; logits once a turn
    assert prefill == pytest.approx((24 * (480 + 4 * 2 * 4 * 3) + 2 * 8 * 40) / (1000 * 0.5 * 2))
    assert decoding == pytest.approx((15 * 316 * 2 + 16 / 2 * 7 * cache_bytes(SMALL)) / (10 * 0.5))
    assert between == 0.75
    slow, *_ = generation_seconds(SMALL, PLAYED, Sampler(2, 2, True), CARD, 2, rates)
    assert slow == pytest.approx(10 * prefill)


def test_a_step_adds_its_parts() -> None:
    """All its tokens, 64, once for scoring, thrice for the actor; the critic has no logits."""
    rates = Rates(1.0, 1.0, 0.0, 0.0)
    found = step(SMALL, PLAYED, Passes(1.0, 3.0, 3.0), Sampler(2, 2, False), CARD, 1, rates)
    body = 64 * (480 + 4 * 2 * 4 * 4)
    assert found.scoring == pytest.approx((body + 2 * 16 * 40) / 1000)
    assert found.actor == pytest.approx(3 * found.scoring) and found.critic == pytest.approx(3 * body / 1000)
    assert found.seconds == pytest.approx(found.generation + found.scoring + found.critic + found.actor)


def test_the_authors_updates_come_out() -> None:
    """1.5B on 4 GPUs with the default rates: actor and critic within a tenth of the 30 and 27 s in their logs."""
    shape, assumed = PUBLISHED["Qwen/Qwen2.5-1.5B-Instruct"], Assumptions()
    played = Episodes(128, 50 * assumed.turn_share, 50, 510, 40, 70)
    work = passes(heads=True, detached=False, reference=True, epochs=1, critic_epochs=1, again=True)
    found = step(shape, played, work, Sampler(2, 2, False), CARDS["h100"], 4, assumed.rates)
    assert found.actor == pytest.approx(30, rel=0.1) and found.critic == pytest.approx(27, rel=0.1)
    assert found.generation == pytest.approx(160, rel=0.1)


def test_files_have_the_sizes_that_are_counted(tmp_path: Path) -> None:
    """A model folder's weights and a checkpoint as the stages write them, to 2 %."""
    import torch

    from hiper.learning.decoder import Decoder, DecoderShape
    from hiper.learning.folders import WEIGHTS, save_decoder
    from hiper.stages import checkpoint

    decoder = Decoder(DecoderShape(2000, 96, 256, 2, 3, 3, True, 64, 1e4, 1e-6))
    decoder.initialize(torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(decoder.parameters())
    decoder.logits(decoder.model.embed_tokens.weight[:2]).sum().backward()
    for parameter in decoder.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    save_decoder(decoder, tmp_path / "model", tmp_path, 0, 0)
    checkpoint.save(tmp_path / "c", 1, {"actor": decoder.state_dict(), "optimizer": optimizer.state_dict()})
    shape = ModelShape(2000, 96, 256, 2, 3, 3, True)
    sizes: dict[str, Any] = {"trained": True, "folders": 1, "recorded": 0, "evaluated": 0}
    found = run_files(Models(shape, False, False), kept=0, **sizes)
    assert found.model == pytest.approx((tmp_path / "model" / WEIGHTS).stat().st_size, rel=0.02)
    assert found.checkpoints == pytest.approx((tmp_path / "c" / "00000001.pt").stat().st_size, rel=0.02)


def test_checkpoints_of_adapters_are_small_and_models_are_whole() -> None:
    """Of a run with a critic: two folders of 316 + 316 weights, three checkpoints of 200 adapters and their moments; a
    warm start has the actor alone."""
    sizes: dict[str, Any] = {"folders": 2, "kept": 2, "recorded": 0, "evaluated": 0}
    models = Models(SMALL, True, True, 1)
    found = run_files(models, trained=True, **sizes)
    assert (found.model, found.checkpoints) == (2 * 4 * 632, 3 * 12 * 2 * adapter_parameters(SMALL, 1))
    start = run_files(models, trained=False, **sizes)
    assert (start.model, start.checkpoints) == (2 * 4 * 316, 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's configurations, and two experiments of our own: `small`, on the CPU, and `few`, on a GPU."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name, source, grid in (
        ("small", "demo", "benchmarks: [alfworld_small, webshop_small], models: [tiny], algorithms: [hiper, grpo]"),
        ("few", "paper", "benchmarks: [alfworld], models: [qwen2.5_1.5b_instruct], algorithms: [hiper]"),
    ):
        text = (ROOT / "configs" / "experiment" / f"{source}.yaml").read_text()
        text = re.sub(r"^grid:\n(?:[ #].*\n)+", f"grid: {{{grid}, seeds: [0, 1]}}\n", text, flags=re.MULTILINE)
        text = text.replace("ppo_turn", "grpo") + "\nvariance: {batches: 16}\n"
        (folder / "configs" / "experiment" / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def small(project: Path) -> list[Plan]:
    found, unknown = plans("small", project, Assumptions())
    assert unknown == []
    return found


def test_jobs_of_a_grid(small: list[Plan]) -> None:
    """Two benchmarks, one model, two algorithms, two seeds: 4 warm starts, 8 runs, and 12 evaluations."""
    assert jobs(small) == {
        "data": 2,
        "demonstrations": 2,
        "tokenizer": 2,
        "warm_start": 4,
        "train": 8,
        "evaluate": 12,
        "gradient_variance": 4,
        "report, tracking": 3,
    }


def test_gradient_variance_is_played_once_for_all_algorithms(small: list[Plan]) -> None:
    """Each algorithm more adds a pass with gradients to every batch, and no play; without batches there is no job."""
    plan = small[0]
    assert plan.settings.variance.batches and plan.settings.variance.critic_batches
    one, two, three = (plan.variance_seconds(count) for count in (1, 2, 3))
    assert one > 0 and three - two == pytest.approx(two - one) and two - one < one
    values = plan.settings.model_dump()
    values["variance"]["batches"] = 0
    assert jobs([replace(plan, settings=parse_run(values, "test"))])["gradient_variance"] == 0


def test_episodes_of_an_evaluation(small: list[Plan]) -> None:
    """100 seen and 250 unseen games at one temperature, or 250 goals, each by every model that is evaluated."""
    models = len(small[0].settings.evaluation.checkpoints)
    counted = {plan.name.benchmark: plan.evaluated for plan in small}
    assert counted == {"alfworld_small": [100, 250] * models, "webshop_small": [250] * models}
    assert split_size(small[0].settings, "unseen") == 250


def test_the_cpu_has_no_counted_times(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are jobs and disk; from the seconds of jobs that have run follow the minutes of those to come."""
    monkeypatch.chdir(project)
    folder = project / "results" / "small" / "benchmarks" / "train"
    folder.mkdir(parents=True)
    for number, seconds in enumerate((20, 40)):
        (folder / f"alfworld_small-tiny-hiper-seed{number}.tsv").write_text(f"s\th:m:s\n{seconds}.0\t0:00:20\n")
    assert main(["plan", "small"]) == 0
    shown = capsys.readouterr().out
    assert "measured, not counted" in shown and "GPU h" not in shown
    assert re.search(r"train +8 +2 +0\.5 +3\.0 ", shown)


def test_tables_are_whole_in_eighty_columns(project: Path) -> None:
    """Nothing is cut, no row of a table has the name of another one, and what fits here is told apart from what would
    fit elsewhere."""
    screen = console(stream := io.StringIO())
    screen.width = 80
    show(screen, "few", project, Assumptions())
    shown = stream.getvalue()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    begin, end = (next(n for n, line in enumerate(lines) if line.startswith(head)) for head in ("Peak memory", "host:"))
    names = [re.split(r"  +", line)[0] for line in lines[begin:end]]
    assert len(set(names)) == len(names) and "4 GPUs" in names
    assert re.search(r"  alfworld warm start +0\.3 +2 +1 ", shown)  # evaluated on one GPU each
    assert re.search(r"at least 1 GPU if everything is sharded", shown)


def test_the_command_takes_other_numbers(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a memory or an engine that is given, what did not fit does, now with all activations kept; assumptions are
    printed."""
    monkeypatch.chdir(project)
    assert main(["plan", "few", "--engine", "cuda"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"81\.7 +NO ", shown) and "1,543,714,304" in shown and "--turn-seconds" in shown
    assert main(["plan", "few", "--engine", "cuda", "--memory", "150"]) == 0
    assert re.search(r"113\.5 +yes ", capsys.readouterr().out)
    assert main(["plan", "few", "--engine", "deepspeed"]) == 0
    assert "4 GPUs" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["plan", "few", "--mfu", "1.5"])
    assert main(["plan", "few", "--engine", "cuda", "--gpus", "3"]) == 2
    assert "engine local trains in one process" in capsys.readouterr().err
    assert main(["plan", "few", "--engine", "deepsped"]) == 2
    assert "deepspeed" in capsys.readouterr().err
