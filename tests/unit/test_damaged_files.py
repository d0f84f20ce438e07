"""Truncated, overwritten and foreign files of every kind: the reader gives a value or an error that names the file.

What is damaged here are real files, made by the real stages. Nothing may raise anything but UserError, and nothing may
ask for gigabytes: the tests run with a limit on memory.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
import resource
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hiper.benchmarks.alfworld.archives import extract
from hiper.benchmarks.alfworld.environment import AlfworldBenchmark
from hiper.benchmarks.alfworld.games import find_games, read_index, write_index
from hiper.benchmarks.alfworld.generation import generate_games
from hiper.benchmarks.alfworld.sources import make_dataset
from hiper.compose import compose_run, write_config
from hiper.config import BenchmarkSettings, Data, RunSettings, parse_run
from hiper.errors import UserError
from hiper.learning.folders import HEADS, WEIGHTS, load_decoder, save_tensors
from hiper.manifest import read_manifest, verify_outputs, write_manifest
from hiper.policies.local import load_tokenizer
from hiper.records import read_json, read_jsonl, write_json, write_jsonl
from hiper.stages import demonstrations, tokenizer, warmstart
from hiper.stages.demonstrations import read_demonstrations
from hiper.stages.results import load_studies
from hiper.stages.rollout import Rollout
from hiper.stages.tables import success_records, training_records
from hiper.trajectory import Task

ROOT = Path(__file__).resolve().parents[2]
RUN = "alfworld_test-test-hiper-seed0"
ROOM = 3 << 30  # bytes of address space beyond those at the start of the tests
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", autouse=True)
def limited_memory() -> Iterator[None]:
    """A reader that believes a damaged size gets MemoryError, which is no UserError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def chosen() -> RunSettings:
    values = compose_run("test", RUN, ROOT).model_dump()
    values["benchmark"]["data"]["generate"] |= {"train": 14, "valid_seen": 2, "valid_unseen": 2}
    values["demonstrations"]["games"] = 12
    values["warm_start"] |= {"steps": 1, "warmup_steps": 0, "batch_turns": 4, "held_out": 0.2}
    return parse_run(values, "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, chosen: RunSettings) -> Path:
    """Games, demonstrations, a tokenizer and a model folder, each by its stage."""
    folder = tmp_path_factory.mktemp("made")
    games = folder / "data" / chosen.benchmark.dataset
    games.mkdir(parents=True)
    found = generate_games(games, chosen.benchmark.task_types, chosen.benchmark.data.generate)
    write_index(games, chosen.benchmark.dataset, {"kind": "generate"}, found)
    demonstrations.make(chosen, folder / "data", folder / "demonstrations")
    rows = folder / "demonstrations" / "demonstrations.jsonl"
    tokenizer.make(chosen, rows, folder / "tokenizer")
    warmstart.run(chosen, rows, folder / "tokenizer", folder / "warmstart", folder / "data")
    return folder


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A way to damage the bytes of a file: cut it, flip bits, insert or drop a piece; for JSON also a changed value."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "drop", "value", "value"]))
    place, piece = draw(st.floats(0, 1, exclude_max=True)), draw(st.binary(min_size=1, max_size=6))
    bits, odd = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=4)), draw(ODD)
    where = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=6))

    def damage(content: bytes) -> bytes:
        at = int(place * len(content))
        if kind == "cut":
            return content[:at]
        if kind == "insert":
            return content[:at] + piece + content[at:]
        if kind == "drop":
            return content[:at] + content[at + len(piece) :]
        if kind == "value" and content.lstrip()[:1] == b"{":
            line, *rest = content.split(b"\n", 1) if b"}\n{" in content else [content]
            return json.dumps(replaced(json.loads(line), where, odd)).encode() + b"".join([b"\n", *rest])
        flipped = bytearray(content)
        for share, bit in bits:
            flipped[int(share * len(content))] ^= 1 << bit
        return bytes(flipped)

    return damage


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 10**12, 10**400, 1e308, "", "../../x", "/etc/passwd", "\ud800", "a\0b"]),
    st.sampled_from([[], {}, [[]], {"": None}]),
    st.text(max_size=5),
)  # fmt: skip


def replaced(value: Any, where: list[int], odd: Any) -> Any:
    """`value` with one part replaced or removed: `where` chooses the way down."""
    value = copy.copy(value)
    if not isinstance(value, dict | list) or not value or not where:
        return odd
    key: Any = sorted(value)[where[0] % len(value)] if isinstance(value, dict) else where[0] % len(value)
    if len(where) == 1 and where[0] % 3 == 0:
        del value[key]
    else:
        value[key] = replaced(value[key], where[1:], odd)
    return value


def read_or_refused(path: Path, content: bytes, damage: Callable[[bytes], bytes], read: Callable[[], Any]) -> None:
    """Read with the damaged file in place of the whole one; an error must name it, on one screen."""
    path.write_bytes(damage(content))
    try:
        read()
    except UserError as error:
        text = str(error)
        assert str(path) in text or str(path.parent) in text, text
        assert len(text.splitlines()) <= 24 and len(text) < 3000, text
    finally:
        path.write_bytes(content)


def played(settings: BenchmarkSettings, data: Path) -> None:
    """Every task of the index is listed, the first one started and acted in."""
    benchmark = AlfworldBenchmark(settings, data)
    task = benchmark.tasks("train")[0]
    environment = benchmark.environment()
    _, info = environment.reset(task)
    for _ in range(3):
        if not info.won:
            *_, info = environment.step(info.admissible_actions[0])


@many
@given(damage=damages())
def test_a_damaged_index_of_games(made: Path, chosen: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """games.json: listed and played, or refused."""
    path = made / "data" / chosen.benchmark.dataset / "games.json"
    read_or_refused(path, path.read_bytes(), damage, lambda: played(chosen.benchmark, made / "data"))


@settings(many, max_examples=250)
@given(damage=damages())
def test_a_damaged_game(made: Path, chosen: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """game.tw-pddl, its PDDL problem included: played, or refused when the episode starts."""
    data = made / "data"
    path = read_index(data / chosen.benchmark.dataset)["train"][0].folder / "game.tw-pddl"
    read_or_refused(path, path.read_bytes(), damage, lambda: played(chosen.benchmark, data))


@settings(many, max_examples=250)
@given(damage=damages())
def test_a_damaged_pddl_problem(made: Path, chosen: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """The problem alone, damaged inside sound JSON."""
    data = made / "data"
    path = read_index(data / chosen.benchmark.dataset)["train"][0].folder / "game.tw-pddl"
    game = read_json(path)

    def inside(content: bytes) -> bytes:
        problem = damage(game["pddl_problem"].encode()).decode("utf-8", "replace")
        return json.dumps({**game, "pddl_problem": problem}).encode()

    read_or_refused(path, path.read_bytes(), inside, lambda: played(chosen.benchmark, data))


@many
@given(damage=damages())
def test_a_damaged_trajectory(made: Path, chosen: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """traj_data.json: its game is found or not, or refused."""
    root = made / "data" / chosen.benchmark.dataset
    path = read_index(root)["train"][0].folder / "traj_data.json"
    types = chosen.benchmark.task_types
    read_or_refused(path, path.read_bytes(), damage, lambda: find_games(root, "train", types))


@pytest.mark.parametrize("ending", ["tar.xz", "tar.gz", "tar", "zip"])
def test_a_damaged_archive(made: Path, chosen: RunSettings, tmp_path: Path, ending: str) -> None:
    """Unpacked into a data set, or refused; never a half-made data set."""
    source = made / "data" / chosen.benchmark.dataset
    archive, output = tmp_path / f"games.{ending}", tmp_path / "data" / "out"
    if ending == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as package:
            for file in sorted(source.rglob("*.*")):
                package.write(file, f"json_2.1.1/{file.relative_to(source)}")
    else:
        with tarfile.open(archive, f"w:{ending.removeprefix('tar').removeprefix('.')}") as package:
            package.add(source, "json_2.1.1")
    generate = chosen.benchmark.data.generate
    data = Data(source="archives", folder=None, archives=[str(archive)], generate=generate)
    content = archive.read_bytes()

    def read() -> None:
        shutil.rmtree(output.parent, ignore_errors=True)
        try:
            make_dataset("out", data, chosen.benchmark.task_types, output)
        except UserError as error:
            assert not output.exists()
            if "games.json" in str(error) or "out" in str(error).split(":")[0]:
                raise UserError(f"{archive}: {error}") from None  # a file that came out of it
            raise

    @few
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(archive, content, damage, read)

    damaged()


@many
@given(damage=damages())
def test_damaged_demonstrations(made: Path, chosen: RunSettings, damage: Callable[[bytes], bytes]) -> None:
    """demonstrations.jsonl: examples for the warm start, or refused."""
    path = made / "demonstrations" / "demonstrations.jsonl"
    loaded = load_tokenizer(made / "tokenizer")
    read_or_refused(path, path.read_bytes(), damage, lambda: warmstart._examples(chosen, path, loaded))


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer(made: Path, name: str) -> None:
    """Loaded with a chat template that renders, or refused."""
    path = made / "warmstart" / "model" / name
    content = path.read_bytes()

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, lambda: load_tokenizer(path.parent))

    damaged()


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_damaged_model(made: Path, name: str) -> None:
    """Loaded with finite weights, or refused before memory is asked for."""
    path = made / "warmstart" / "model" / name
    content = path.read_bytes()

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, lambda: load_decoder(path.parent))

    damaged()


@many
@given(damage=damages(), header=st.sampled_from(["shape", "dtype", "data_offsets", "name"]), data=st.data())
def test_a_damaged_header_of_weights(
    made: Path, damage: Callable[[bytes], bytes], header: str, data: st.DataObject
) -> None:
    """The JSON at the head of a safetensors file, changed so that it stays JSON."""
    path = made / "warmstart" / "model" / WEIGHTS
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    described = json.loads(content[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(set(described) - {"__metadata__"})))
    if header == "name":
        described[data.draw(st.text(max_size=5))] = described.pop(name)
    else:
        described[name][header] = data.draw(st.one_of(ODD, st.lists(st.integers(-1, 2**62), max_size=3)))
    text = json.dumps(described).encode()
    changed = struct.pack("<Q", len(text)) + text + content[8 + length :]
    read_or_refused(path, content, lambda _: changed, lambda: load_decoder(path.parent))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, chosen: RunSettings, made: Path) -> Path:
    """An experiment with one evaluated run."""
    run = tmp_path_factory.mktemp("results") / "test" / "runs" / RUN
    write_config(chosen, run / "config.yaml")
    episode = {"task": "a/b/c", "task_type": "look_at_obj_in_light", "split": "seen", "temperature": 0.4}
    rows = [{**episode, "won": won, "turns": 3, "failure": None} for won in (True, False)]
    write_jsonl(run / "evaluation.jsonl", rows)
    write_jsonl(run / "metrics.jsonl", [{"iteration": n, "train/success": 0.5, "episodes": 8 * n} for n in (1, 2)])
    shutil.copytree(made / "warmstart" / "model", run / "model")
    outputs = [path for path in (run / "model").iterdir() if path.is_file()]
    write_manifest(run, chosen, made / "data", outputs=outputs)
    return run


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.jsonl", "config.yaml", "manifest.json"])
def test_damaged_results(results: Path, name: str) -> None:
    """The report's tables and the manifest's checks: made, or refused."""
    path = results / name
    content = path.read_bytes()

    def read() -> None:
        for study in load_studies(results.parent.parent):
            success_records(study)
            training_records(study)
        read_manifest(results)
        verify_outputs(results)

    @many
    @given(damage=damages())
    def damaged(damage: Callable[[bytes], bytes]) -> None:
        read_or_refused(path, content, damage, read)

    damaged()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "holds no demonstration"),
        (b"\n", ":1: not valid JSON"),
        (b"{}\n", ":1: no task, messages"),
        (b'{"task": "t", "messages": []}\n', ":1: `messages` must be a user's and an assistant's message, found 0"),
        (b'{"task": 3, "messages": []}\n', ":1: `task` = 3 must be of type str"),
        (b'{"task": "t", "messages": [1, 2]}\n', ":1, messages: expected a JSON object, found int"),
        (b"[" * 100_000 + b"\n", ":1: not valid JSON (nested too deeply)"),
        (b'{"task": NaN}\n', ":1: not valid JSON (NaN is no JSON number)"),
        (b'{"task": "\\ud800"}\n', ":1: not valid JSON"),
        (b'{"task": 1' + b"0" * 5000 + b"}\n", ":1: not valid JSON"),
        (b'{"task": "t\xff"}\n', ":1: not valid JSON"),
    ],
    ids=range(11),
)
def test_demonstrations_are_refused_with_their_line(tmp_path: Path, content: bytes, wanted: str) -> None:
    """File, line and reason."""
    path = tmp_path / "demonstrations.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_demonstrations(path)
    assert str(path) in str(caught.value) and wanted in str(caught.value)


def test_a_warm_start_needs_something_to_learn_from(copied: Path, chosen: RunSettings) -> None:
    """A single episode, all of it held out; fewer turns than a batch; a prompt over the limit, named by its line."""
    path = copied / "demonstrations" / "demonstrations.jsonl"
    loaded, rows = load_tokenizer(copied / "tokenizer"), read_jsonl(path)
    values = chosen.model_dump()
    short = parse_run({**values, "prompt": {**values["prompt"], "max_tokens": 100}}, "test")
    longest = max(range(len(rows)), key=lambda number: len(rows[number]["messages"][0]["content"]))
    for kept, given_settings, wanted in (
        ([row for row in rows if row["task"] == rows[0]["task"]], chosen, "keeps all of its 1 episodes from training"),
        (rows[:3] + rows[-1:], chosen, "fewer than warm_start.batch_turns=4"),
        ([rows[longest], *rows], short, r"demonstrations\.jsonl:1: the prompt has \d+ tokens, over prompt.max_tokens"),
    ):
        write_jsonl(path, kept)
        with pytest.raises(UserError, match=wanted):
            warmstart._examples(given_settings, path, loaded)


def edited(path: Path, **changes: Any) -> None:
    write_json(path, {**read_json(path), **changes})


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"vocab_size": 10**12}, "vocab_size = 1000000000000 must be between"),
        ({"num_hidden_layers": 16_000_000}, "num_hidden_layers = 16000000, the weights have 1"),
        ({"hidden_size": 16_000_000}, r"config.json asks for \[\d+, 16000000\]"),
        ({"hidden_size": "32"}, "`hidden_size` = '32' must be of type int"),
        ({"hidden_size": -32}, "hidden_size = -32 must be between"),
        ({"hidden_size": True}, "`hidden_size` = True must be of type int"),
        ({"num_attention_heads": 3}, "multiple of num_attention_heads"),
        ({"num_key_value_heads": 0}, "num_key_value_heads = 0"),
        ({"rope_theta": "x"}, "`rope_theta` = 'x'"),
        ({"rms_norm_eps": 2}, "rms_norm_eps = 2"),
        ({"tie_word_embeddings": "no"}, "`tie_word_embeddings` = 'no'"),
        ({"tie_word_embeddings": False}, "lm_head.weight is missing"),
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "scaled rotary"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_senseless_config_json_is_refused(copied: Path, changes: dict[str, Any], wanted: str) -> None:
    """Wrong types, negative, contradictory and gigantic sizes: an error with the key, and no attempt to allocate."""
    folder = copied / "warmstart" / "model"
    edited(folder / "config.json", **changes)
    with pytest.raises(UserError, match=wanted) as caught:
        load_decoder(folder)
    assert str(folder) in str(caught.value)


def nan(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"][3] = float("nan")


def missing(weights: dict[str, torch.Tensor]) -> None:
    del weights["model.norm.weight"]


def extra(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.bias"] = torch.zeros(3)


def integers(weights: dict[str, torch.Tensor]) -> None:
    weights["model.norm.weight"] = torch.zeros(32, dtype=torch.int8)


def untied(weights: dict[str, torch.Tensor]) -> None:
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1.0


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (nan, "model.norm.weight holds NaN"),
        (missing, "model.norm.weight is missing"),
        (extra, "model.norm.bias is not part of this architecture"),
        (integers, "model.norm.weight is of type I8"),
        (untied, "tie_word_embeddings is true in config.json, but lm_head.weight differs"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    copied: Path, change: Callable[[dict[str, torch.Tensor]], None], wanted: str
) -> None:
    """Missing, additional, quantised, contradictory and infinite tensors are named."""
    path = copied / "warmstart" / "model" / WEIGHTS
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(UserError, match=wanted):
        load_decoder(path.parent)


@pytest.mark.parametrize("name", ["../../x.safetensors", "/etc/x", "..", "", "a/b.safetensors", "a\\b", "x\0y", 3])
def test_an_index_may_only_name_files_of_its_folder(copied: Path, name: Any) -> None:
    """A path out of the folder is refused even where a sound file lies there."""
    folder = copied / "warmstart" / "model"
    shutil.copy(folder / WEIGHTS, folder.parent / "x.safetensors")
    shutil.copy(folder / WEIGHTS, folder.parent.parent / "x.safetensors")
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": {"model.norm.weight": name}})
    with pytest.raises(UserError, match=r"index\.json: .*(no name of a file|must map)"):
        load_decoder(folder)


def test_a_missing_shard_is_named(copied: Path) -> None:
    """Half of a sharded model; with both halves it loads."""
    folder = copied / "warmstart" / "model"
    weights = load_file(folder / WEIGHTS)
    names = sorted(weights)
    shards = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(names)}
    for shard in set(shards.values()):
        save_tensors({name: weights[name] for name in names if shards[name] == shard}, folder / shard)
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": shards})
    load_decoder(folder)
    (folder / "part-1.safetensors").unlink()
    with pytest.raises(UserError, match=r"part-1\.safetensors: no such file"):
        load_decoder(folder)


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"eos_token": None}, "no eos_token"),
        ({"chat_template": "{% for"}, "chat template cannot be used: TemplateSyntaxError"),
        ({"chat_template": "{{ raise_exception('no user') }}"}, "chat template cannot be used: TemplateError: no user"),
        ({"chat_template": "hello"}, "does not show the user's message"),
        ({"chat_template": None}, "chat template cannot be used"),
        ({"chat_template": LOOP}, "does not end"),
        ({"chat_template": "{{ 'x' * 600000000 }}{{ messages[0]['content'] }}"}, "cannot be used: MemoryError"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_tokenizer_that_cannot_end_or_ask_is_refused(copied: Path, changes: dict[str, Any], wanted: str) -> None:
    """No end token; a chat template that raises, says nothing, never ends or fills the memory: the file is named."""
    path = copied / "warmstart" / "model" / "tokenizer_config.json"
    edited(path, **changes)
    with pytest.raises(UserError, match=rf"tokenizer_config\.json: .*{wanted}"):
        load_tokenizer(path.parent)


def test_a_tokenizer_of_a_larger_model_is_refused(copied: Path) -> None:
    """Its last tokens would have no embedding."""
    folder = copied / "warmstart" / "model"
    edited(folder / "config.json", vocab_size=read_json(folder / "config.json")["vocab_size"] - 1)
    with pytest.raises(UserError, match=r"tokenizer\.json: has token number \d+, .* belongs to another model"):
        load_tokenizer(folder)


def test_a_pretrained_model_must_have_room_for_prompt_and_answer(copied: Path, chosen: RunSettings) -> None:
    """prompt.max_tokens + max_response_tokens beyond its positions is found when it is loaded."""
    folder = copied / "warmstart" / "model"
    edited(folder / "config.json", max_position_embeddings=200)
    values = chosen.model_dump()
    pretrained = parse_run({**values, "model": {"name": "mine", "path": str(folder), "scratch": None}}, "test")
    with pytest.raises(UserError, match=r"config\.json: the model has 200 positions, .* = 648"):
        warmstart._initial_decoder(pretrained, load_tokenizer(folder), folder, "cpu")


def test_outputs_are_verified_by_their_checksums(results: Path, tmp_path: Path) -> None:
    """Every bit of every listed file counts, and so does a missing file; a folder without a manifest is nobody's."""
    run = tmp_path / RUN
    shutil.copytree(results, run)
    verify_outputs(run)
    names = sorted(read_json(run / "manifest.json")["outputs"])
    assert f"model/{WEIGHTS}" in names and "model/config.json" in names and f"model/{HEADS}" not in names
    for name in names:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match=rf"{name}: is not as its stage wrote it .* run the stage that makes"):
            verify_outputs(run)
        (run / name).unlink()
        with pytest.raises(UserError, match=rf"{name}: is missing"):
            verify_outputs(run)
        (run / name).write_bytes(content)
    verify_outputs(run)
    (run / "manifest.json").unlink()
    verify_outputs(run)


def test_a_damaged_game_ends_the_stage_instead_of_losing_an_episode(copied: Path, chosen: RunSettings) -> None:
    """Counted as a lost episode it would only lower a success rate."""
    benchmark = AlfworldBenchmark(chosen.benchmark, copied / "data")
    tasks = benchmark.tasks("train")[:2]
    path = copied / "data" / chosen.benchmark.dataset / tasks[1].id / "game.tw-pddl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"game\.tw-pddl: not valid JSON"):
        Rollout(benchmark, Unused(), chosen.prompt).play(tasks, [0, 1], [0])


class Unused:
    """A policy that is never asked."""

    def respond(self, requests: Any, seed: Any) -> Any:
        raise AssertionError("no episode may begin")


def test_a_game_that_the_index_lists_must_exist(copied: Path, chosen: RunSettings) -> None:
    """Found before any episode, not when the game's turn comes."""
    task = AlfworldBenchmark(chosen.benchmark, copied / "data").tasks("train")[5]
    shutil.rmtree(copied / "data" / chosen.benchmark.dataset / task.id)
    with pytest.raises(UserError, match=rf"{task.id}/game.tw-pddl: no such file.*1 of 14 games of split 'train'"):
        AlfworldBenchmark(chosen.benchmark, copied / "data").tasks("train")


@pytest.mark.parametrize(
    "identifier", ["../../etc/passwd", "/etc/passwd", "valid_seen/a/b", "train", "train//b", "train/a\0"]
)
def test_an_index_may_only_name_folders_of_its_split(
    copied: Path, chosen: RunSettings, identifier: str
) -> None:  # fmt: skip
    """A game outside the data set is refused."""
    path = copied / "data" / chosen.benchmark.dataset / "games.json"
    index = read_json(path)
    index["splits"]["train"][0]["id"] = identifier
    write_json(path, index)
    with pytest.raises(UserError, match=r"games\.json, train: `id` = "):
        AlfworldBenchmark(chosen.benchmark, copied / "data")


def test_a_game_nobody_can_win_is_refused(copied: Path, chosen: RunSettings) -> None:
    """Its goal asks for an object of a kind that the game does not have."""
    benchmark = AlfworldBenchmark(chosen.benchmark, copied / "data")
    task = next(task for task in benchmark.tasks("train") if task.task_type == "pick_and_place_simple")
    path = copied / "data" / chosen.benchmark.dataset / task.id / "game.tw-pddl"
    game = read_json(path)
    objects, facts, goal = re.split(r"(?=\(:init)|(?=\(:goal)", game["pddl_problem"])
    wanted = re.search(r"objectType \?o (\w+)", goal)
    assert wanted
    other = next(word for word in objects.split() if word.endswith("Type") and word != wanted[1])
    write_json(path, {**game, "pddl_problem": objects + facts.replace(f" {wanted[1]})", f" {other})") + goal})
    with pytest.raises(UserError, match=r"game\.tw-pddl: nobody can win this game"):
        benchmark.environment().reset(Task(task.id, task.split, task.task_type))


def test_an_expert_without_a_win_is_an_error(copied: Path, chosen: RunSettings) -> None:
    """One turn is not enough for any game: nothing is written."""
    values = chosen.model_dump()
    hopeless = parse_run({**values, "demonstrations": {**values["demonstrations"], "max_turns": 1}}, "test")
    with pytest.raises(UserError, match="the expert won none of 12 games"):
        demonstrations.make(hopeless, copied / "data", copied / "none")
    assert not list(copied.glob("none/*"))


def test_a_growing_metrics_file_may_end_anywhere(tmp_path: Path) -> None:
    """Cut inside a character, a word or a number: the whole rows are read."""
    (tmp_path / "metrics.jsonl").write_bytes('{"iteration":1,"é":0.5}\n{"iteration":2,"é":0.5}\n'.encode())
    content = (tmp_path / "metrics.jsonl").read_bytes()
    for length in range(len(content) + 1):
        (tmp_path / "metrics.jsonl").write_bytes(content[:length])
        rows = read_jsonl(tmp_path / "metrics.jsonl", partial_ok=True)
        assert [row["iteration"] for row in rows] == [1, 2][: (length >= 24) + (length >= 49)]


def test_an_archive_with_something_else_behind_it_is_refused(made: Path, tmp_path: Path) -> None:
    """Half of a compressed archive, then bytes that are no continuation."""
    archive, out = tmp_path / "games.tar.gz", tmp_path / "out"
    with tarfile.open(tmp_path / "games.tar", "w") as package:
        package.add(made / "data", "json_2.1.1")
    content = (tmp_path / "games.tar").read_bytes()
    archive.write_bytes(gzip.compress(content[: len(content) // 2 // 512 * 512]) + b"no gzip")
    out.mkdir()
    with pytest.raises(UserError, match=r"games\.tar\.gz: damaged or cut off"):
        extract(archive, out)


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """A few kilobytes that claim to hold two gigabytes; nothing is written."""
    archive = tmp_path / "bomb.tar.gz"
    claimed = tarfile.TarInfo("zeros")
    claimed.size = 2 << 30
    archive.write_bytes(gzip.compress(claimed.tobuf() + bytes(1 << 20)))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match=r"bomb\.tar\.gz: refused, it would unpack to more than 1024 MB"):
        extract(archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
