"""Real DeepSpeed over gloo: a learner's updates do not depend on how they are sharded, nor over how many processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from deepspeed_launch import succeed
from deepspeed_worker import learn
from safetensors.torch import load_file

from hiper.learning.decoder import Decoder, DecoderShape
from hiper.learning.folders import WEIGHTS, save_decoder
from hiper.learning.processes import Processes
from hiper.learning.training_engine import whole
from hiper.planning.files import FLOAT
from hiper.planning.host import training_host
from hiper.planning.memory import MIXED, Layout, Memory
from hiper.planning.shapes import Models, ModelShape, parameters
from hiper.stages import checkpoint

pytestmark = [pytest.mark.deepspeed, pytest.mark.xdist_group("deepspeed"), pytest.mark.timeout(3600)]

BATCH = {
    "training__mini_batch_turns": 4,
    "training__micro_batch_tokens": 60,
    "training__kl": 0.05,
    "training__entropy": 0.001,
    "training__epochs": 2,
    "training__gradient_clip": 0.5,
}
SEPARATE = {"training__critic__backbone": "separate", "training__critic__detach": False}
LORA = {"model__lora": {"rank": 4, "alpha": 8.0}}
TRUNK = SEPARATE | {
    "model__scratch__layers": 3,  # as the worker's model has
    "training__critic__trunk_blocks": 2,
    "training__critic__loss": "hl_gauss",
}
CRITICS = {"separate": SEPARATE, "shared": {}, "lora": SEPARATE | LORA, "trunk": TRUNK}

COMPILED = "zero3-compiled"

# name, engine settings, critic
VARIANTS: list[tuple[str, dict[str, Any], str]] = [
    ("zero1", {"zero_stage": 1}, "separate"),
    ("zero2", {"zero_stage": 2}, "separate"),
    ("zero3", {"zero_stage": 3}, "separate"),
    ("zero3-trunk", {"zero_stage": 3}, "trunk"),
    ("zero2-shared", {"zero_stage": 2}, "shared"),
    ("zero3-shared", {"zero_stage": 3}, "shared"),
    (
        "zero3-checkpointing-offload",
        {"zero_stage": 3, "gradient_checkpointing": True, "offload_optimizer": True},
        "separate",
    ),
    ("zero2-lora", {"zero_stage": 2}, "lora"),
    ("zero3-lora", {"zero_stage": 3, "gradient_checkpointing": True}, "lora"),
    (COMPILED, {"zero_stage": 3, "gradient_checkpointing": True, "compile": True}, "separate"),
    ("zero1-bfloat16", {"zero_stage": 1, "dtype": "bfloat16"}, "separate"),  # another class of DeepSpeed's
    ("zero2-bfloat16", {"zero_stage": 2, "dtype": "bfloat16"}, "separate"),
    ("zero3-bfloat16", {"zero_stage": 3, "dtype": "bfloat16"}, "separate"),
]
# Two processes do all of them but one, which each would compile; one process does some: every stage and every critic.
ALONE = ("zero1", "zero3-shared", "zero3-trunk", "zero3-checkpointing-offload", "zero2-lora", "zero3-bfloat16")
DONE = [(name, 2) for name, *_ in VARIANTS if name != COMPILED] + [(name, 1) for name in (*ALONE, COMPILED)]
EXACT = [(name, processes) for name, processes in DONE if "bfloat16" not in name]
CUT = (
    "zero3",
    "zero3-trunk",
    "zero3-checkpointing-offload",
)  # saved after the first update by two processes, gone on by one
AGAIN = ("zero2", "zero3", "zero3-bfloat16")  # gone on by two
# Of models whose memory is measured: 12.3 million parameters, half a million in the largest weights
MEASURED = DecoderShape(1000, 512, 2048, 3, 8, 4, True, 64, 10000.0, 1e-6)


def job(
    folder: Path, name: str, engine: dict[str, Any], critic: str, processes: int, part: tuple[int, int]
) -> dict[str, Any]:
    changes = BATCH | CRITICS[critic] | {f"engine__{key}": value for key, value in engine.items()}
    changes |= {"engine__name": "deepspeed", "engine__gpus": processes} if engine else {}
    first, last = part
    output = folder / f"{name}-{processes}-{first}.json"
    return {"changes": changes, "checkpoints": str(folder / name), "output": str(output), "first": first, "last": last}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two updates of the same batch by the variants, with two processes and with one, and in this one without
    DeepSpeed. Folders `<processes>/<variant>` hold checkpoints; `cut` is what two processes began and one ended."""
    folder: Path = tmp_path_factory.mktemp("learning")
    cut = [variant for variant in VARIANTS if variant[0] in CUT]
    for processes in (2, 1):
        wanted = [variant for variant in VARIANTS if (variant[0], processes) in DONE]
        own = [job(folder / str(processes), *variant, processes, (0, 2)) for variant in wanted]
        own += [job(folder / "cut", *variant, processes, (0, 1) if processes == 2 else (1, 2)) for variant in cut]
        if processes == 2:
            again = [variant for variant in VARIANTS if variant[0] in AGAIN]
            own += [job(folder / "again", *variant, 2, part) for variant in again for part in ((0, 1), (1, 2))]
            own.append(measured(folder / "measured"))
        succeed(processes, {"learn": own}, folder)
    for critic in CRITICS:
        local = job(folder / "local", critic, {}, critic, 1, (0, 2))
        (folder / "local" / f"{critic}.json").parent.mkdir(parents=True, exist_ok=True)
        (folder / "local" / f"{critic}-1-0.json").write_text(json.dumps(learn(local, Processes())))
    return folder


def measured(folder: Path) -> dict[str, Any]:
    """What two processes do with a model that is large beside what is allocated by the way."""
    decoder = Decoder(MEASURED)
    decoder.initialize(torch.Generator().manual_seed(0))
    save_decoder(decoder, folder / "model", folder, 1, 0)
    wanted = job(folder, "measured", {"zero_stage": 3, "dtype": "bfloat16"}, "separate", 2, (0, 0))
    return wanted | {"folder": str(folder / "model")}


def metrics(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["metrics"]


def require_close(
    found: list[dict[str, Any]], expected: list[dict[str, Any]], relative: float, absolute: float
) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name] == pytest.approx(value, rel=relative, abs=absolute), name


def state(folder: Path) -> dict[str, Any]:
    loaded = checkpoint.load_latest(folder)
    assert loaded is not None and loaded[0] == 2
    parts = checkpoint.parts_of(loaded[1])
    return {name: whole([part[name] for part in parts]) for name in ("actor", "critic")}


@pytest.mark.parametrize(("name", "processes"), EXACT)
def test_losses_norms_and_values_are_those_of_the_local_engine(results: Path, name: str, processes: int) -> None:
    """Of two updates (two epochs, two mini-batches each, KL, entropy, two heads) every metric and every value read in
    between equals plain torch's to 1e-4, whatever is sharded."""
    critic = next(critic for variant, _, critic in VARIANTS if variant == name)
    local = metrics(results / "local" / f"{critic}-1-0.json")
    assert local[0]["policy/kl_reference"] > 0.01 and local[0]["policy/norm"] > 0.5  # the clip is at work
    require_close(metrics(results / str(processes) / f"{name}-{processes}-0.json"), local, 1e-4, 1e-6)


@pytest.mark.parametrize(("name", "processes"), EXACT)
def test_gradients_are_those_of_the_local_engine(results: Path, name: str, processes: int) -> None:
    """AdamW's first moments, which are sums of clipped gradients, agree parameter by parameter to a thousandth of the
    parameter's largest, for actor and critic; the masters lie nearer to each other than a hundredth of a step."""
    critic = next(critic for variant, _, critic in VARIANTS if variant == name)
    ours, theirs = state(results / str(processes) / name), state(results / "local" / critic)
    for part in ("actor", "critic"):
        assert set(ours[part]["weights"]) == set(theirs[part]["weights"])
        for key, expected in theirs[part]["exp_avg"].items():
            difference = (ours[part]["exp_avg"][key] - expected).abs().max()
            assert difference <= 1e-3 * expected.abs().max(), (part, key)
            moved = (ours[part]["weights"][key] - theirs[part]["weights"][key]).abs().mean()
            assert moved <= 1e-5, (part, key)


@pytest.mark.parametrize(("name", "processes"), [one for one in DONE if one not in EXACT])
def test_bfloat16_stays_near_float32(results: Path, name: str, processes: int) -> None:
    """With bfloat16 weights and float32 masters the first update's losses, norm and values are within 2 % and 0.05 of
    float32's; the checkpoint's masters are float32 with more digits than bfloat16 has."""
    found = metrics(results / str(processes) / f"{name}-{processes}-0.json")
    local = metrics(results / "local" / "separate-1-0.json")
    require_close(found[:1], local[:1], 0.02, 0.05)
    for weight in state(results / str(processes) / name)["actor"]["weights"].values():
        assert weight.dtype == torch.float32 and not torch.equal(weight, weight.bfloat16().float())


@pytest.mark.parametrize(("name", "processes"), [one for one in DONE if "lora" in one[0]])
def test_adapters_are_all_that_is_trained_and_kept(results: Path, name: str, processes: int) -> None:
    """A checkpoint holds adapters (and value heads) alone; the weights that samplers get are the local engine's merged
    ones, by the plain names."""
    actor = state(results / str(processes) / name)["actor"]["weights"]
    assert actor and all(key.endswith((".lora_a", ".lora_b")) for key in actor)
    ours, theirs = (
        json.loads((results / path).read_text())["merged"]
        for path in (f"{processes}/{name}-{processes}-0.json", "local/lora-1-0.json")
    )
    assert ours == pytest.approx(theirs, abs=1e-3) and not any("lora" in key for key in ours)


@pytest.mark.parametrize("name", CUT)
def test_one_process_goes_on_where_two_stopped(results: Path, name: str) -> None:
    """A ZeRO 3 checkpoint of two processes, loaded by one, gives the second update of an uninterrupted run, and the
    same masters and moments after it."""
    whole = metrics(results / "2" / f"{name}-2-0.json")
    require_close(metrics(results / "cut" / f"{name}-1-1.json"), whole[1:], 1e-4, 1e-6)
    ours, theirs = state(results / "cut" / name), state(results / "2" / name)
    for part in ("actor", "critic"):
        assert ours[part]["step"] == theirs[part]["step"]
        for key, weight in theirs[part]["weights"].items():
            assert (ours[part]["weights"][key] - weight).abs().mean() <= 1e-5, (part, key)


@pytest.mark.parametrize("name", CUT)
def test_the_local_engine_goes_on_where_sharded_ones_stopped(results: Path, tmp_path: Path, name: str) -> None:
    """The checkpoint's format is one for all engines: plain torch loads it and makes the same second update."""
    (tmp_path / "local").mkdir()
    for path in (results / "cut" / name).glob("00000001.*"):
        (tmp_path / "local" / path.name).write_bytes(path.read_bytes())
    critic = next(critic for variant, _, critic in VARIANTS if variant == name)
    found = learn(job(tmp_path, "local", {}, critic, 1, (1, 2)), Processes())
    require_close(found["metrics"], metrics(results / "2" / f"{name}-2-0.json")[1:], 1e-4, 1e-6)


@pytest.mark.parametrize("name", AGAIN)
def test_as_many_processes_go_on_to_the_same_bytes(results: Path, name: str) -> None:
    """Two updates, between which a new learner goes on from a checkpoint, end with the masters and moments of two
    without one, to the bit."""
    ours, theirs = state(results / "again" / name), state(results / "2" / name)
    for part in ("actor", "critic"):
        assert ours[part]["step"] == theirs[part]["step"]
        for kept in ("weights", "exp_avg", "exp_avg_sq"):
            assert all(ours[part][kept][key].equal(value) for key, value in theirs[part][kept].items()), (part, kept)


def test_processes_write_a_checkpoint_in_parts(results: Path) -> None:
    """Each its own, with a checksum, none much larger than the others; one process writes one file."""
    folder = results / "2" / "zero3"
    parts = sorted(folder.glob("00000002.*of2.*.pt"))
    assert [part.name[:14] for part in parts] == ["00000002.0of2.", "00000002.1of2."]
    assert all(part.with_suffix(".sha256").exists() for part in parts)
    small, large = sorted(part.stat().st_size for part in parts)
    assert large < 1.2 * small and (folder / "00000002.pt").stat().st_size < small / 10
    assert not list((results / "1" / "zero3-shared").glob("*of*"))


def test_the_hosts_memory_is_what_is_counted(results: Path) -> None:
    """Two processes of ZeRO 3 on a CPU, of which a file's pages count once: what they take at most to read actor,
    reference and critic is the counted figure to a quarter; what they hold before the first update, to three quarters.
    Their state is where it is until it is copied, and whole models are on the first process alone.

    The actor's weights are those of the file, rounded to bfloat16."""
    found = json.loads((results / "measured" / "measured-2-0.json").read_text())
    models = Models(ModelShape.of(MEASURED), reference=True, own_critic=True)
    layout = Layout(MIXED, 2, 3, offload=False, checkpointing=False)
    held = layout.state(models.actor) + layout.state(models.critic) + layout.frozen(parameters(models.shape))
    host = training_host(models, layout, 1, Memory(held, 0.0, 0.0, 0.0, 0.0))
    moments = 8 * models.trained  # come with the first update
    pages = FLOAT * parameters(models.shape)
    assert found["loading"] - pages == pytest.approx(host.loading, rel=0.25)
    assert 0.75 <= found["learner"] / (host.held - moments) <= 1.75  # pages of libraries count, more beside other work
    assert found["state"] <= 0.2 * FLOAT * models.trained
    assert found["saved"] == pytest.approx(host.saved, rel=0.25)
    weights = load_file(results / "measured" / "model" / WEIGHTS)
    assert found["weights"] == {name: weight.bfloat16().double().sum().item() for name, weight in weights.items()}
