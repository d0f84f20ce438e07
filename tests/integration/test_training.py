"""The learning stages on real generated games: complete folders, equal bytes every time, resume as if never stopped."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipeline import FEW_GAMES, prepare, run_settings
from safetensors.torch import load_file

from hiper import plugins
from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.game import GameEnvironment
from hiper.cli.main import main
from hiper.compose import write_config
from hiper.config import RunSettings
from hiper.errors import Interrupted
from hiper.learning.batches import TurnRow
from hiper.learning.learner import Learner
from hiper.plan_execute import render
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, read_jsonl, sha256_file, write_json, write_jsonl
from hiper.stages import checkpoint, evaluation, training, warmstart
from hiper.stages.interruption import Notice
from hiper.stages.tasks import draw_tasks, draws_of
from hiper.trajectory import Trajectory

# What two runs that are the same have in common to the byte.
SAME = (
    *("metrics.jsonl", "episodes.jsonl", "model/model.safetensors", "model/value_heads.safetensors"),
    "best/model.safetensors",
)


LORA: dict[str, Any] = {
    "model__lora": {"rank": 2, "alpha": 4.0},
    "training__critic__backbone": "separate",
    "training__critic__detach": False,
}

TRUNK = {
    "training__critic__backbone": "separate",
    "training__critic__detach": False,
    "training__critic__trunk_blocks": 1,
}

PRETRAINED = TRUNK | {
    "training__critic__loss": "hl_gauss",
    "training__critic__gate": True,
    "training__critic__pretraining": {"episodes": 16, "patience": 5, "tolerance": 0.0},
}


SAMPLED = {
    "run": "alfworld_test-test-grpo-seed0",
    "algorithm__group_size": 2,
    "training__iterations": 8,
    "algorithm__sampling__resample": 1,
    "algorithm__sampling__replay": {"successes": 1, "failures": 1, "capacity": 8, "weight": 1.0},
    "algorithm__sampling__choose": {"episodes": 0.5, "tokens": 0.5},
    "training__tasks": 4,
}


STORED: dict[str, Any] = {
    "run": "alfworld_test-test-archer-seed0",
    "algorithm__off_policy": {"capacity": 60, "batch_turns": 16, "critic_epochs": 2, "actor_epochs": 1, "tau": 0.1},
}


def sometimes_won(play: Callable[..., list[Trajectory]]) -> Callable[..., list[Trajectory]]:
    """Episodes of a game that a model of no skill sometimes wins: when what it has answered is long by threes."""

    def decided(one: Trajectory) -> Trajectory:
        won = sum(len(turn.response) for turn in one.turns) % 3 == 0
        return replace(one, won=won, turns=(*one.turns[:-1], replace(one.turns[-1], reward=float(won))))

    return lambda *arguments: [decided(one) for one in play(*arguments)]


def train(prepared: Path, folder: Path, chosen: RunSettings) -> Path:
    training.run(chosen, prepared / "warmstart" / "model", folder, prepared / "data")
    return folder


def auto_tokenizer(folder: Path, texts: list[str]) -> Any:
    """What other tools load, which must give every text the ids that the model was trained on."""
    from transformers import AutoTokenizer

    own, auto = load_tokenizer(folder), AutoTokenizer.from_pretrained(folder)
    for text in texts:
        ids = own.encode(text, add_special_tokens=False)
        assert auto.encode(text, add_special_tokens=False) == ids, text
        assert auto.decode(ids) == own.decode(ids), text
    assert (auto.eos_token_id, auto.pad_token_id) == (own.eos_token_id, own.pad_token_id)
    return auto


def test_models_from_scratch_are_ordinary_model_folders(prepared: Path, tmp_path: Path) -> None:
    """Of the warm start and of RL: the library's own classes load them, chat template included, with the same token ids
    in every prompt and answer, the decoder's logits, and the end token that ends an answer."""
    from transformers import AutoModelForCausalLM

    from hiper.learning.decoder import Packing
    from hiper.learning.folders import load_decoder

    rows = read_jsonl(prepared / "demonstrations" / "demonstrations.jsonl")
    chats = [row["messages"] for row in rows]
    texts = [message["content"] for chat in chats for message in chat]
    trained = train(prepared, tmp_path / "run", run_settings(training__iterations=1))
    for folder in (prepared / "warmstart" / "model", trained / "model"):
        made, model = auto_tokenizer(folder, texts), AutoModelForCausalLM.from_pretrained(folder)
        text = made.apply_chat_template(chats[0][:1], tokenize=False, add_generation_prompt=True)
        ids = made(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        decoder = load_decoder(folder)
        hidden, _ = decoder.model.hidden(Packing.of([ids[0].numpy()], [np.arange(ids.shape[1])]))
        assert torch.allclose(model(input_ids=ids).logits[0], decoder.logits(hidden), atol=1e-4)
        assert model.generation_config.eos_token_id == made.eos_token_id


def test_a_tokenizer_of_the_shop_is_read_alike_by_other_tools(prepared: Path, tmp_path: Path) -> None:
    """Names of products are tokens of their own; so it is after `save_pretrained`, too."""
    from hiper.stages import tokenizer

    rows = read_jsonl(prepared / "demonstrations" / "demonstrations.jsonl")
    prompt = "A red T-shirt, size x-large, under 12.50 dollars.\nCan: search[<words>]; click[b0{0}]; click[Café]"
    for number, row in enumerate(rows):
        row["messages"][0]["content"] = prompt.format(number % 9)
        row["messages"][1]["content"] = render(True, "find it", f"click[b0{number % 9}]")
    path = tmp_path / "demonstrations.jsonl"
    write_jsonl(path, rows)
    run = "webshop_test-test-warmstart-seed0"
    tokenizer.make(run_settings(run), path, tmp_path / "tokenizer", tmp_path)
    texts = [message["content"] for row in rows[:20] for message in row["messages"]]
    shutil.copy(prepared / "warmstart" / "model" / "config.json", tmp_path / "tokenizer")  # a model's, as in its folder
    edited = read_json(tmp_path / "tokenizer" / "config.json") | {"vocab_size": 5000}
    write_json(tmp_path / "tokenizer" / "config.json", edited)
    auto = auto_tokenizer(tmp_path / "tokenizer", texts)
    auto.save_pretrained(tmp_path / "again")
    shutil.copy(tmp_path / "tokenizer" / "config.json", tmp_path / "again")
    again = auto_tokenizer(tmp_path / "again", texts)
    assert all(again.encode(text) == auto.encode(text) for text in texts)


def test_two_runs_give_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    """Metrics, weights and value heads of two runs with the same settings are equal byte for byte."""
    first, second = (train(prepared, tmp_path / name, run_settings()) for name in ("a", "b"))
    for name in SAME:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize(
    "changes",
    [{"algorithm__lam_boundary": "auto"}, LORA, PRETRAINED, SAMPLED, TRUNK | STORED],
    ids=["full", "lora", "pretrained", "sampled", "stored"],
)
def test_a_resumed_run_equals_an_uninterrupted_one(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """A run that dies in its third iteration, after writing a metrics row too many, ends with the same bytes; that
    λ_b is averaged over iterations included."""
    chosen = run_settings(**{"training__iterations": 4, "training__checkpoint_every": 2, **changes})
    if changes is SAMPLED:
        monkeypatch.setattr(training.Trainer, "_play", sometimes_won(training.Trainer._play))
    whole = train(prepared, tmp_path / "whole", chosen)
    real = training.Trainer.iterate

    def dies(self: training.Trainer, iteration: int) -> Any:
        if iteration == 3:
            raise MemoryError("the machine gave out")
        return real(self, iteration)

    monkeypatch.setattr(training.Trainer, "iterate", dies)
    with pytest.raises(MemoryError):
        train(prepared, tmp_path / "cut", chosen)
    assert len(read_jsonl(tmp_path / "cut" / "metrics.jsonl")) == 3
    monkeypatch.setattr(training.Trainer, "iterate", real)
    cut = train(prepared, tmp_path / "cut", chosen)
    for name in SAME:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    rows = read_jsonl(whole / "metrics.jsonl")
    averaged = [row.get("critic/lam_boundary") for row in rows]
    assert all(0 < one <= 1 for one in averaged) if "algorithm__lam_boundary" in changes else not any(averaged)
    assert rows[-1]["episodes"] == chosen.training.iterations * chosen.training.episodes
    assert (len(rows) < chosen.training.iterations) == any(row.get("train/resampled") for row in rows)
    assert changes is not SAMPLED or any(row["train/replayed"] for row in rows)


def test_plans_and_their_steps_learn_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of plans in the first iteration, those of steps in the second; a run that dies between the two ends
    with the same bytes, and the trained model is evaluated with plans of its own."""
    chosen = run_settings(
        "alfworld_test-test-grpo-seed0",
        **FEW_GAMES,
        prompt__interface="blueprint",
        prompt__max_tokens=900,
        decoding__max_response_tokens=40,
        decoding__max_text_tokens=24,
        algorithm__group_size=2,
        algorithm__sampling__phases=True,
        training__checkpoint_every=1,
        warm_start__method="sft",
        evaluation__splits=["seen"],
    )
    prepared = prepare(tmp_path / "prepared", chosen)
    whole = train(prepared, tmp_path / "whole", chosen)
    for row in read_jsonl(whole / "episodes.jsonl"):
        trained = [any(turn["token"]["trained"]) for turn in row["decisions"]]
        assert trained == [(number == 0) == (row["iteration"] == 1) for number in range(len(trained))]
        assert row["decisions"][0]["action"] == "" and row["decisions"][0]["response"].startswith("<subgoal>")
    real = training.Trainer.iterate

    def dies(self: training.Trainer, iteration: int) -> Any:
        if iteration == 1:
            raise MemoryError("the machine gave out")
        return real(self, iteration)

    monkeypatch.setattr(training.Trainer, "iterate", dies)
    with pytest.raises(MemoryError):
        train(prepared, tmp_path / "cut", chosen)
    monkeypatch.setattr(training.Trainer, "iterate", real)
    cut = train(prepared, tmp_path / "cut", chosen)
    for name in SAME:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    evaluation.run(chosen, whole, prepared / "data")
    for row in read_jsonl(whole / "evaluation.jsonl"):
        assert row["decisions"][0]["action"] == "" and all(turn["action"] for turn in row["decisions"][1:])


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_critics_of_stored_turns_learn_what_their_targets_say(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tau: float
) -> None:
    """Q learns r + γ V̄ of the next state, r where the episode ended, V what Q̄ says of a fresh answer; the copies stay
    where they began, or are the critic after each epoch, and the actor's advantage is the lower Q less the lower V."""
    stored = {"capacity": 30, "batch_turns": 12, "critic_epochs": 2, "actor_epochs": 1, "tau": tau}
    chosen = run_settings(
        **STORED | TRUNK | {"algorithm__off_policy": stored, "algorithm__gamma": 0.5}, training__iterations=1
    )
    trainer = training.Trainer(chosen, prepared / "warmstart" / "model", tmp_path, prepared / "data")
    off = trainer.off_policy
    assert off is not None
    drawn, answered, told, rows = [], [], [], []
    values, draw = off._values, off._drawn
    before = [weight.clone() for _, weight in off._weights(off.target)]
    monkeypatch.setattr(off, "_drawn", lambda *place: drawn.append(draw(*place)) or drawn[-1])
    monkeypatch.setattr(off, "_values", lambda *asked: answered.append(values(*asked)) or answered[-1])
    monkeypatch.setattr(
        off.learner, "update_critic", lambda states, targets, *_, epochs: told.append(targets) or {"x": 1.0}
    )
    monkeypatch.setattr(off.learner, "update_actor", lambda given, *_: rows.append(given) or {})
    with torch.no_grad():
        for _, weight in off._weights(off.critic):
            weight.add_(0.01)
    trainer.iterate(0)
    assert len(off.moments) == 30 and len(told) == 2 and len(answered) == 2 * 4 + 2
    for epoch, targets in enumerate(told):
        (moments, _), (following, fresh, *_) = drawn[epoch], answered[4 * epoch : 4 * epoch + 4]
        for twin in (1, 2):
            wanted = [one.reward + 0.5 * value for one, value in zip(moments, following[twin], strict=True)]
            np.testing.assert_allclose(targets[f"q_{twin}"].target, np.float32(wanted))
            np.testing.assert_allclose(targets[f"v_{twin}"].target, np.float32(fresh[twin]))
            ended = [one.after is None for one in moments]
            assert not following[twin][ended].any() and following[twin][np.invert(ended)].all()
    q, v = answered[-2:]
    advantage = np.minimum(q[1], q[2]) - np.minimum(v[1], v[2])
    assert [float(row.advantage[0]) for row in rows[0]] == pytest.approx(advantage.tolist(), rel=1e-5)
    moved = [not torch.equal(now, then) for (_, now), then in zip(off._weights(off.target), before, strict=True)]
    assert all(moved) if tau else not any(moved)


def test_checkpoints_by_time_change_no_byte(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of iterations that take 50 seconds, with a checkpoint at most every two minutes, the third leaves the first one;
    a run that dies in the fifth goes on after it and ends as one that writes every checkpoint."""
    timed = run_settings(training__iterations=6, training__checkpoint_every=1, training__checkpoint_minutes=2.0)
    whole = train(prepared, tmp_path / "whole", run_settings(training__iterations=6, training__checkpoint_every=1))
    real, seconds, saved = training.Trainer.iterate, [0.0], []
    monkeypatch.setattr(checkpoint, "monotonic", lambda: seconds[0])
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *given: (saved.append(given[1]), save(*given)))

    def slow(self: training.Trainer, iteration: int) -> Any:
        seconds[0] += 50.0
        if iteration == 4 and saved == [3] and seconds[0] == 250.0:
            raise MemoryError("the machine gave out")
        return real(self, iteration)

    monkeypatch.setattr(training.Trainer, "iterate", slow)
    with pytest.raises(MemoryError):
        train(prepared, tmp_path / "cut", timed)
    assert saved == [3]
    cut = train(prepared, tmp_path / "cut", timed)
    for name in SAME:
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name


def require_low_rank(start: Path, changed: Path, prefix: str = "model.") -> dict[str, torch.Tensor]:
    """What differs between two folders' weights has the adapters' rank, and lies in linear layers alone; the changed
    weights, by the model's own names."""
    before = load_file(start / "model.safetensors")
    after = load_file(changed)
    after = {name: after[name.replace("model.", prefix, 1)] for name in before}
    for name, weight in before.items():
        adapted = weight.dim() == 2 and name.startswith("model.layers.")
        if adapted:
            assert torch.linalg.matrix_rank(after[name] - weight, atol=1e-7) == LORA["model__lora"]["rank"], name
        else:
            assert torch.equal(after[name], weight), name
    return after


def test_training_with_adapters_leaves_an_ordinary_model(prepared: Path, tmp_path: Path) -> None:
    """Its folder has the plain names; actor and critic have learned changes of low rank, each its own."""
    start = prepared / "warmstart" / "model"
    folder = train(prepared, tmp_path, run_settings(**LORA)) / "model"
    actor = require_low_rank(start, folder / "model.safetensors")
    critic = require_low_rank(start, folder / "value_heads.safetensors", "backbone.")
    assert not torch.equal(actor["model.layers.0.mlp.up_proj.weight"], critic["model.layers.0.mlp.up_proj.weight"])


def test_a_pretrained_model_is_warmed_up_with_adapters(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SFT of a given model trains its adapters, and its checkpoints hold nothing else of it; one made from scratch has
    nothing to adapt and learns as a whole."""
    start, rows = prepared / "warmstart" / "model", prepared / "demonstrations" / "demonstrations.jsonl"
    steps = {"warm_start__steps": 2, "warm_start__warmup_steps": 0, "warm_start__checkpoint_every": 1}
    chosen = run_settings(model__path=str(start), model__scratch=None, **steps, **LORA)
    warmstart.run(chosen, rows, None, tmp_path / "given", prepared / "data")
    require_low_rank(start, tmp_path / "given" / "model" / "model.safetensors")

    def save_and_stop(folder: Path, progress: int, state: dict[str, Any]) -> None:
        assert {name.rpartition(".")[2] for name in state["decoder"]} == {"lora_a", "lora_b"}
        save(folder, progress, state)
        raise KeyboardInterrupt

    save = checkpoint.save
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "save", save_and_stop)
        warmstart.run(chosen, rows, None, tmp_path / "resumed", prepared / "data")
    warmstart.run(chosen, rows, None, tmp_path / "resumed", prepared / "data")
    for name in ("model/model.safetensors", "metrics.jsonl"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "given" / name).read_bytes()
    warmstart.run(run_settings(**LORA), rows, prepared / "tokenizer", tmp_path / "scratch", prepared / "data")
    made = tmp_path / "scratch" / "model" / "model.safetensors"
    assert made.read_bytes() == (start / "model.safetensors").read_bytes()


@pytest.mark.parametrize("algorithm", sorted(plugins.BUILT_IN[plugins.ALGORITHMS].keys() - {"archer"}))
def test_recorded_advantages_are_those_of_the_update(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """With all episodes recorded, their tokens' advantages and masks are, in order, the rows the actor was given;
    ArCHer's actor is given fresh answers."""
    given: list[TurnRow] = []
    real = Learner.update_actor

    def notes(self: Learner, rows: list[TurnRow], *rest: Any) -> dict[str, float]:
        given.extend(rows)
        return real(self, rows, *rest)

    monkeypatch.setattr(Learner, "update_actor", notes)
    chosen = run_settings(f"alfworld_test-test-{algorithm}-seed0", training__iterations=1, tracking__episodes=8)
    records = read_jsonl(train(prepared, tmp_path, chosen) / "episodes.jsonl")
    turns = [turn for record in records for turn in record["decisions"]]
    assert len(records) == 8 and len(turns) == len(given)
    for turn, row in zip(turns, given, strict=True):
        assert turn["token"]["advantage"] == pytest.approx(row.advantage.tolist(), abs=1e-6)
        assert turn["token"]["trained"] == row.trained.tolist()
        assert "".join(turn["token"]["text"]) == turn["response"]
    assert any(value for turn in turns for value in turn["token"]["trained"])


def test_no_episodes_are_recorded_when_none_are_wanted(prepared: Path, tmp_path: Path) -> None:
    """`tracking.episodes: 0` leaves an empty file, other numbers as many rows an iteration; the model is the same."""
    none, two = (train(prepared, tmp_path / str(n), run_settings(tracking__episodes=n)) for n in (0, 2))
    assert (none / "episodes.jsonl").read_bytes() == b""
    assert [row["iteration"] for row in read_jsonl(two / "episodes.jsonl")] == [1, 1, 2, 2]
    name = "model/model.safetensors"
    assert (none / name).read_bytes() == (two / name).read_bytes()


def test_checkpoints_of_other_settings_are_not_resumed(prepared: Path, tmp_path: Path) -> None:
    """A checkpoint left by another configuration is discarded instead of continued."""
    checkpoint.begin(tmp_path / "run" / "checkpoints", {"settings": "other", "start": "other"})
    checkpoint.save(tmp_path / "run" / "checkpoints", 1, {"actor": torch.zeros(1)})
    train(prepared, tmp_path / "run", run_settings())
    assert [row["iteration"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl")] == [1, 2]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    """With the newest file cut short, the one before it is loaded."""
    for progress in (1, 2, 3):
        checkpoint.save(tmp_path, progress, {"x": torch.tensor([float(progress)])})
    newest = tmp_path / "00000003.pt"
    newest.write_bytes(newest.read_bytes()[:-7])
    loaded = checkpoint.load_latest(tmp_path)
    assert loaded is not None and loaded[0] == 2 and loaded[1]["x"].item() == 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm__switch_advantage": "paper"},
        {"algorithm__switch_advantage": "none", "training__kl": 0.01, "training__entropy": 0.001},
        {"training__critic__detach": False, "algorithm__bootstrap_truncated": True},
        {"training__critic__backbone": "separate", "training__critic__detach": False},
        {"decoding__mode": "free"},
        {"prompt__interface": "react", "run": "alfworld_test-test-ppo_turn-seed0"},
        {"decoding__mode": "free", "run": "alfworld_test-test-ppo-seed0"},
        {
            "run": "alfworld_test-test-ppo-seed0",
            "training__critic__backbone": "separate",
            "training__critic__detach": False,
        },
        {**TRUNK, "training__critic__loss": "hl_gauss", "training__critic__gate": True},
        {**STORED, "decoding__mode": "free", "engine__dtype": "bfloat16", "algorithm__normalize": True},
    ],
    ids=[
        *("paper switch", "kl and entropy", "critic trains the backbone", "separate critic", "free decoding", "react"),
        *("token values, free decoding", "token values, separate critic", "trunk of classes behind a gate"),
        "stored turns, free decoding, bfloat16",
    ],
)
def test_every_variant_trains(prepared: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Each option's path runs on real games and leaves finite metrics."""
    folder = train(prepared, tmp_path, run_settings(training__iterations=1, **changes))
    (row,) = read_jsonl(folder / "metrics.jsonl")
    assert all(np.isfinite(value) for value in row.values())


def test_in_bfloat16_the_old_log_probabilities_are_the_trainers(prepared: Path, tmp_path: Path) -> None:
    """Sampler and trainer round differently, so the trainer computes them again, and how far both lie apart is in the
    metrics; in float32 there is nothing to correct."""
    rows = {
        dtype: read_jsonl(train(prepared, tmp_path / dtype, run_settings(engine__dtype=dtype)) / "metrics.jsonl")
        for dtype in ("float32", "bfloat16")
    }
    assert all("rollout/logprob_difference" not in row for row in rows["float32"])
    assert all(0 < row["rollout/logprob_difference"] < 0.02 for row in rows["bfloat16"])


def test_an_algorithm_without_values_makes_no_critic(prepared: Path, tmp_path: Path) -> None:
    """Whatever the settings say of a critic: there is no second backbone to train, keep or save."""
    separate = {"training__critic__backbone": "separate", "training__critic__detach": False}
    chosen = run_settings("alfworld_test-test-grpo-seed0", training__iterations=1, **separate)
    assert load_file(train(prepared, tmp_path, chosen) / "model" / "value_heads.safetensors") == {}


@pytest.mark.parametrize("algorithm", ["hiper", "vetta"])
@pytest.mark.parametrize("detach", [True, False])
def test_the_critics_first_loss_is_that_of_the_values_it_gave(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, detach: bool
) -> None:
    """In a single mini-batch each head's loss is the mean squared error of the values that the credit was computed
    from, for one value per turn and one per token, whether hidden states are kept or computed again."""
    seen: list[Any] = []
    real = Learner.update_critic

    def notes(self: Learner, states: Any, targets: Any, random: Any) -> dict[str, float]:
        seen.append((targets, real(self, states, targets, random)))
        return seen[-1][1]

    monkeypatch.setattr(Learner, "update_critic", notes)
    changes = {"iterations": 1, "mini_batch_turns": 1000, "critic__detach": detach, "micro_batch_tokens": 700}
    chosen = run_settings(
        f"alfworld_test-test-{algorithm}-seed0", **{f"training__{key}": value for key, value in changes.items()}
    )
    training.Trainer(chosen, prepared / "warmstart" / "model", tmp_path, prepared / "data").iterate(0)
    ((targets, losses),) = seen
    for head, target in targets.items():
        wanted = ((target.old - target.target)[target.mask] ** 2).mean()
        assert np.ptp(target.old[target.mask]) > 0
        assert losses[f"critic/loss_{head}"] == pytest.approx(wanted, rel=1e-4)


def test_pretraining_costs_episodes_and_no_update(prepared: Path, tmp_path: Path) -> None:
    """A critic that learned on 16 episodes first, and an algorithm without one: after every iteration the same number
    of updates, after the last the same number of episodes; those of pretraining are counted from the first row on."""
    found = []
    for name, changes in (("hiper", PRETRAINED), ("rloo", {"algorithm__group_size": 2})):
        chosen = run_settings(f"alfworld_test-test-{name}-seed0", training__iterations=4, **changes)
        found.append(read_jsonl(train(prepared, tmp_path / name, chosen) / "metrics.jsonl"))
    ours, theirs = found
    assert [row["iteration"] for row in ours] == [1, 2, 3, 4] and all("policy/loss" in row for row in ours)
    assert [row["episodes"] for row in ours] == [20, 24, 28, 32]
    assert [row["episodes"] for row in theirs] == [8, 16, 24, 32] and all("policy/loss" in row for row in theirs)
    assert ours[0]["pretraining/episodes"] == 16 and "pretraining/explained_variance_low" in ours[0]
    assert ours[0]["pretraining/turns"] > 0 and not any("pretraining/episodes" in row for row in [*ours[1:], *theirs])


def test_pretraining_of_stored_turns_reaches_the_copies_too(prepared: Path, tmp_path: Path) -> None:
    """The targets of the first iteration come from what the values have learned, and its turns are stored."""
    chosen = run_settings(**PRETRAINED | STORED | {"training__critic__gate": False}, training__iterations=3)
    trainer = training.Trainer(chosen, prepared / "warmstart" / "model", tmp_path, prepared / "data")
    off = trainer.off_policy
    assert off is not None
    began = [weight.clone() for _, weight in off._weights(off.target)]
    trainer.pretrain_once()
    for (name, kept), (_, trained), first in zip(
        off._weights(off.target), off._weights(off.critic), began, strict=True
    ):
        assert torch.equal(kept, trained), name
        if name.startswith("heads."):
            assert not torch.equal(kept, first), name
    assert len(off.moments) == trainer.pretraining.turns


def test_pretraining_goes_on_where_a_signal_stopped_it(prepared: Path, tmp_path: Path) -> None:
    """With a notice after its first batch it is saved and says so; the next process plays the second batch only, and
    the run ends with the bytes of one that nobody stopped."""
    chosen = run_settings(**PRETRAINED, training__iterations=3)
    start, data = prepared / "warmstart" / "model", prepared / "data"
    whole = train(prepared, tmp_path / "whole", chosen)
    identity = {
        "settings": training.stage_digest(chosen, "train"),
        "start": sha256_file(start / "model.safetensors"),
        "data": training.require_data(start.parent, data, chosen.benchmark.dataset),
    }
    folder = tmp_path / "cut"
    checkpoint.begin(folder / "checkpoints", identity)
    notice = Notice()
    notice.signal = signal.SIGTERM
    with pytest.raises(Interrupted, match="SIGTERM: stopped after 8 episodes of pretraining"):
        training.Trainer(chosen, start, folder, data, data=identity["data"]).train(notice)
    loaded = checkpoint.load_latest(folder / "checkpoints")
    assert loaded is not None and loaded[0] == 0 and loaded[1]["pretraining"]["batches"] == 1
    train(prepared, folder, chosen)
    for name in SAME:
        assert (whole / name).read_bytes() == (folder / name).read_bytes(), name


def test_pretrained_values_learn_returns(prepared: Path, tmp_path: Path) -> None:
    """The targets of pretraining are Monte-Carlo returns at every read-out, whatever the critic says; λ-returns hold
    its values."""
    chosen = run_settings("alfworld_test-test-vetta-seed0", algorithm__lam_turn=0.5, algorithm__penalties__invalid=0.0)
    trainer = training.Trainer(chosen, prepared / "warmstart" / "model", tmp_path, prepared / "data")
    tasks, groups = draw_tasks(trainer.tasks, chosen, draws_of(chosen, 0))
    played = [
        replace(one, turns=tuple(replace(turn, reward=float(i + t % 3)) for t, turn in enumerate(one.turns)))
        for i, one in enumerate(trainer.rollout.play(tasks, groups, [0]))
    ]
    assessed = trainer.assessor.assess(played)
    for head, read in assessed.of_returns().read().items():
        np.testing.assert_array_equal(read.targets, read.returns)
        np.testing.assert_array_equal(read.values, assessed.read()[head].values)
        assert not np.allclose(assessed.read()[head].targets, read.returns)


@pytest.mark.parametrize("algorithm", ["hiper", "ppo_turn", "ppo", "vetta"])
def test_a_gated_baseline_is_the_mean_return(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Of every algorithm with values: heads that explain less than nothing leave the credit of a critic that says the
    mean everywhere; heads that explain something leave it as it was. The metrics say which."""
    from hiper.algorithms.interface import Floats
    from hiper.learning.critic import Critic

    sign, real = [1.0], Critic.values
    kept: dict[str, Floats] = {}

    def values(self: Critic, states: Any, head: str, shape: Any) -> Floats:
        read = real(self, states, head, shape)
        return sign[0] * kept[head] if head in kept else read

    monkeypatch.setattr(Critic, "values", values)
    changes = {"training__critic__gate": True, "algorithm__normalize": False}
    if algorithm != "ppo":  # which never bootstraps
        changes["algorithm__bootstrap_truncated"] = False
    chosen = run_settings(f"alfworld_test-test-{algorithm}-seed0", **changes)
    start, data = prepared / "warmstart" / "model", prepared / "data"
    trainer = training.Trainer(chosen, start, tmp_path, data)
    tasks, groups = draw_tasks(trainer.tasks, chosen, draws_of(chosen, 0))
    played = [
        replace(one, turns=tuple(replace(turn, reward=float(i + t % 3)) for t, turn in enumerate(one.turns)))
        for i, one in enumerate(trainer.rollout.play(tasks, groups, [0]))
    ]
    plain = trainer.assessor.assess(played)
    returns = plain.credit.returns
    assert returns is not None and returns.std() > 0
    for head, (target, mask) in plain.credit.targets.items():
        told = np.zeros(plain.values[head].shape)
        told[:, : target.shape[1]][mask] = np.broadcast_to(
            returns.reshape(*returns.shape, *[1] * (mask.ndim - 2)), mask.shape
        )[mask]
        kept[head] = told
    assert not any(trainer.assessor.assess(played).gated.values())
    sign[0] = -1.0
    gated = trainer.assessor.assess(played)
    assert all(gated.gated.values())
    assert trainer.assessor.remember(gated) == {f"critic/gated_{head}": 1.0 for head in kept}
    mean = {head: read.returns.mean() for head, read in gated.read().items()}
    for head, one in mean.items():
        assert (gated.values[head] == -kept[head]).all()  # the critic's own values stay what it said
        kept[head] = np.full(kept[head].shape, -one)
    trainer.assessor.gate = False
    constant = trainer.assessor.assess(played)
    for name in ("action", "subgoal", "switch", "other"):
        np.testing.assert_allclose(getattr(gated.credit, name), getattr(constant.credit, name), atol=1e-12)


def test_micro_batches_do_not_change_the_update(prepared: Path, tmp_path: Path) -> None:
    """One micro-batch or many: the same step up to rounding, because losses are normalised over the mini-batch."""
    chosen = run_settings(training__iterations=1)
    start, data = prepared / "warmstart" / "model", prepared / "data"
    weights = []
    for tokens in (1 << 20, 300):
        changed = run_settings(training__iterations=1, training__micro_batch_tokens=tokens)
        trainer = training.Trainer(changed, start, tmp_path, data)
        trainer.iterate(chosen.training.critic.warmup_iterations)
        weights.append(torch.cat([p.detach().flatten() for p in trainer.actor.parameters()]))
    before = torch.cat(
        [p.detach().flatten() for p in training.Trainer(chosen, start, tmp_path, data).actor.parameters()]
    )
    moved = (weights[0] - before).abs().max()
    assert moved > 1e-5
    assert (weights[0] - weights[1]).abs().mean() < 1e-2 * (weights[0] - before).abs().mean()


def test_evaluation_plays_every_game_of_a_split_once(prepared: Path, tmp_path: Path) -> None:
    """The rows' tasks are the split's tasks, each once per temperature, and two evaluations are equal bytes, whose
    checksum stands beside them."""
    chosen = run_settings()
    shutil.copytree(prepared / "warmstart" / "model", tmp_path / "model")
    evaluation.run(chosen, tmp_path, prepared / "data")
    first = (tmp_path / "evaluation.jsonl").read_bytes()
    rows = read_jsonl(tmp_path / "evaluation.jsonl")
    from hiper.benchmarks.record import make_benchmark

    benchmark = make_benchmark(chosen.benchmark, prepared / "data")
    for split in ("seen", "unseen"):
        expected = [task.id for task in benchmark.tasks(f"valid_{split}")]
        assert [row["task"] for row in rows if row["split"] == split] == expected
    evaluation.run(chosen, tmp_path, prepared / "data")
    assert (tmp_path / "evaluation.jsonl").read_bytes() == first
    assert read_json(tmp_path / "evaluation.json")["episodes"] == sha256_file(tmp_path / "evaluation.jsonl")


def test_a_broken_evaluation_episode_keeps_its_turns(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A game that breaks at its third turn is recorded as failed, with the two turns before; the others go on."""
    real = GameEnvironment.step

    def breaks(self: GameEnvironment, action: str) -> Any:
        if self._turns_left == 4 and self is environments[0]:
            raise OSError("gone")
        return real(self, action)

    environments: list[GameEnvironment] = []
    make = AlfworldBenchmark.environment
    monkeypatch.setattr(
        AlfworldBenchmark, "environment", lambda self: environments.append(make(self)) or environments[-1]
    )
    monkeypatch.setattr(GameEnvironment, "step", breaks)
    shutil.copytree(prepared / "warmstart" / "model", tmp_path / "model")
    evaluation.run(run_settings(evaluation__splits=["unseen"]), tmp_path, prepared / "data")
    first, *others = read_jsonl(tmp_path / "evaluation.jsonl")
    assert first["failure"] == "step: OSError: gone"
    assert first["turns"] == len(first["decisions"]) == 2
    assert all(turn["observation"] and turn["response"] and turn["action"] for turn in first["decisions"])
    assert len(others) == 5 and all(row["failure"] is None and len(row["decisions"]) == row["turns"] for row in others)


def test_a_trained_model_can_be_watched(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`hiper play --run` shows every turn of the chosen game to its end, the same game for the same seed; not while the
    run has no manifest."""
    shutil.copytree(prepared / "warmstart" / "model", tmp_path / "model")
    write_config(run_settings(), tmp_path / "config.yaml")
    arguments = ["play", "--run", str(tmp_path), "--data", str(prepared / "data"), "--number", "2", "--seed"]
    assert main([*arguments, "1"]) == 2
    assert "the run is not finished" in capsys.readouterr().err
    (tmp_path / "manifest.json").write_text("{}")
    shown = []
    for seed in ("1", "1", "2"):
        assert main([*arguments, seed]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != shown[2]
    turns = [line for line in shown[0].splitlines() if line.startswith("turn ")]
    assert f"after {len(turns)} turns" in shown[0] and "game 2  valid_unseen/" in shown[0]


def test_the_sampled_protocol_draws_with_replacement_and_a_fixed_seed(prepared: Path) -> None:
    """Thirty draws from a split of fewer games repeat some; the draw is the same every time and differs by seed."""
    from hiper.benchmarks.record import make_benchmark

    sampled = run_settings(evaluation__sampled_episodes=30)
    benchmark = make_benchmark(sampled.benchmark, prepared / "data")
    drawn = evaluation.evaluation_tasks(sampled, benchmark, "seen", "sampled")
    assert len(drawn) == 30 and len(set(drawn)) < 30
    assert drawn == evaluation.evaluation_tasks(sampled, benchmark, "seen", "sampled")
    other = run_settings(evaluation__sampled_episodes=30, seed=1)
    assert drawn != evaluation.evaluation_tasks(other, benchmark, "seen", "sampled")
