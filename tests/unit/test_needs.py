"""What an experiment needs is told apart: on this machine and on a cluster's nodes, too little and none at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from damage import edited
from pipeline import changed

from hiper.benchmarks.alfworld.games import GAME_FILE, Game, write_index
from hiper.cli.main import main
from hiper.compose import RunName, compose_run
from hiper.config import RunSettings, parse_run
from hiper.errors import UserError
from hiper.grids import compose_grid
from hiper.learning.guide import TAGS
from hiper.policies.model_policy import ModelPolicy
from hiper.policies.tokenizer_files import load_tokenizer
from hiper.records import read_json, write_json
from hiper.stages import warmstart
from hiper.views import doctor, needs
from hiper.views.machine import Finding
from hiper.views.profiles import profile_of

ROOT = Path(__file__).resolve().parents[2]
START = RunName("alfworld", "qwen2.5_1.5b_instruct", "warmstart", 0)
TRAIN = RunName("alfworld", "qwen2.5_1.5b_instruct", "hiper", 0)
GIB = 1 << 30
DEEPSPEED: dict[str, Any] = {"engine__name": "deepspeed", "engine__gpus": 4, "engine__zero_stage": 3}


def disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """As if the disk had so many bytes left."""
    used = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: used._replace(free=free))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No model in the cache, room on the disk, no games named (importing alfworld names some)."""
    disk(monkeypatch, 10**15)
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-models"))


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    """The paper's settings of one run, but on one GPU, without DeepSpeed and vLLM."""
    values = compose_run("paper", str(TRAIN), ROOT).model_dump()
    values["engine"] |= {"name": "local", "gpus": 1, "nodes": 1, "zero_stage": 0, "gradient_checkpointing": False}
    values["rollout"] |= {"backend": "local", "memory_share": None, "importance_cap": None, "difference_limit": None}
    return parse_run(values, "test")


def look(
    settings: RunSettings, root: Path, gpus: list[int], executor: str = "local", **changes: Any
) -> dict[str, Finding]:
    """The findings about the training run of these settings, by the first words of what they say."""
    altered = parse_run(changed(settings.model_dump(), **changes), "test")
    found = needs.needs("paper", [(TRAIN, altered)], root, "missing", executor, lambda: gpus)
    return {" ".join(finding.detail.split()[:2]): finding for finding in found}


def test_gpus_are_counted_and_their_memory_compared(settings: RunSettings, tmp_path: Path) -> None:
    """None; too small for what stays in memory; perhaps too small for the peak; large enough."""
    (absent,) = look(settings, tmp_path, []).values()
    assert absent.state == "missing" and "needs 1 GPU, about" in absent.detail and "--profile slurm" in absent.remedy
    (small,) = look(settings, tmp_path, [40 * GIB]).values()
    assert small.state == "missing" and "optimiser are 62 GB, a GPU has 43" in small.detail
    (tight,) = look(settings, tmp_path, [80 * GIB]).values()
    assert tight.state == "optional" and "micro_batch_tokens" in tight.remedy
    assert look(settings, tmp_path, [180 * GIB]) == {}
    several = look(settings, tmp_path, [180 * GIB], **DEEPSPEED)
    assert "needs 4 GPUs" in several["needs 4"].detail
    assert look(settings, tmp_path, 4 * [80 * GIB], **DEEPSPEED, engine__nodes=2)["needs 4"].state == "missing"


def test_several_nodes_are_not_to_be_had_on_one_machine(settings: RunSettings, tmp_path: Path) -> None:
    """Whatever they compute on; a cluster gives them."""
    on_cpus = {**DEEPSPEED, "engine__device": "cpu", "engine__nodes": 2, "engine__gpus": 2}
    alone = look(settings, tmp_path, [], **on_cpus)["needs 2"]
    assert alone.state == "missing" and "2 nodes" in alone.detail and "--profile slurm" in alone.remedy
    assert "needs 2" not in look(settings, tmp_path, [], "slurm", **on_cpus)


def test_gpus_of_a_cluster_are_not_looked_for_here(settings: RunSettings, tmp_path: Path) -> None:
    """The login node has none, and that is no obstacle; that no GPU is large enough is said."""
    (asked,) = [one for one in look(settings, tmp_path, [], "slurm").values() if "sbatch" not in one.detail]
    assert asked.state == "ok" and "not looked for on this machine" in asked.detail
    large = look(settings, tmp_path, [], "slurm", training__micro_batch_tokens=100_000)["its jobs"]
    assert large.state == "optional" and "more than any GPU has" in large.remedy


def test_slurms_commands_are_needed_only_by_its_executor(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them nothing can be submitted."""
    monkeypatch.setenv("PATH", "")
    assert look(settings, tmp_path, [], "slurm")["no sbatch,"].state == "missing"
    assert "no sbatch," not in look(settings, tmp_path, [180 * GIB])


def test_packages_of_the_engines_are_looked_for(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those that the settings use."""
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert look(settings, tmp_path, [180 * GIB]) == {}
    engines = changed(settings.model_dump(), **DEEPSPEED, rollout__backend="vllm", rollout__memory_share=0.4)
    run = TRAIN, parse_run(engines, "test")
    found = list(needs.needs("paper", [run], tmp_path, "missing", see_gpus=lambda: 4 * [180 * GIB]))
    assert [one.state for one in found] == ["missing", "missing"]
    assert "package deepspeed" in found[0].detail and "package vllm" in found[1].detail


def test_the_disk_must_hold_the_runs_that_are_not_finished(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models kept and checkpoints of the one that needs most; a finished run needs nothing more."""
    disk(monkeypatch, 60 * 10**9)
    (full,) = look(settings, tmp_path, [180 * GIB]).values()
    assert full.state == "missing" and "needs 124 GB of disk, 60 are free" in full.detail
    both = [(TRAIN, settings), (replace(TRAIN, seed=1), settings)]
    (two,) = needs.needs("paper", both, tmp_path, "missing", see_gpus=lambda: [180 * GIB])
    assert "needs 136 GB of disk + 111 GB for each further run at work, 60 are free" in two.detail
    disk(monkeypatch, 200 * 10**9)
    found = needs.needs("paper", both, tmp_path, "missing", "slurm")
    assert [one.state for one in found if "enough for 1 at once" in one.detail] == ["optional"]
    folder = tmp_path / "results" / "paper" / "runs" / str(TRAIN)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert look(settings, tmp_path, [180 * GIB]) == {}


def test_models_are_needed_by_warm_starts(settings: RunSettings, tmp_path: Path) -> None:
    """What comes after them begins with their folders."""
    assert look(settings, tmp_path, [180 * GIB]) == {}
    found = list(needs.needs("paper", [(START, settings)], tmp_path, "missing", see_gpus=lambda: [180 * GIB]))
    assert [one.state for one in found] == ["missing"] and "Qwen2.5-1.5B" in found[0].detail


def test_the_workflows_check_names_what_is_missing(
    settings: RunSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line each, with the way out; optional findings do not stop it; a data set that is made is
    asked for tasks in the splits that these runs play, and for enough of them, unless it is about to be made
    again."""
    monkeypatch.setattr(needs, "listed_gpus", lambda: [])
    lines = needs.missing("paper", [(START, settings), (TRAIN, settings)], tmp_path, "local")
    assert [line.split()[1] for line in lines] == ["the", "needs"]
    values = changed(
        settings.model_dump(), benchmark__data__source="folder", benchmark__data__folder=str(tmp_path / "x")
    )
    nowhere = [(TRAIN, parse_run(values, "test"))]
    assert "data.folder is" in needs.missing("paper", nowhere, tmp_path, "local")[-1]
    games = [
        Game(
            f"{split}/look-1/trial", split, "look_at_obj_in_light", tmp_path / "data/alfworld" / split / "look-1/trial"
        )
        for split in ("train", "valid_seen")
    ]
    for game in games:
        game.folder.mkdir(parents=True)
        (game.folder / GAME_FILE).touch()
    write_index(tmp_path / "data" / "alfworld", "alfworld", {"kind": "folder"}, games)
    assert "none in the split valid_unseen" in needs.missing("paper", nowhere, tmp_path, "local")[-1]
    assert len(needs.missing("paper", nowhere, tmp_path, "local", ["alfworld"])) == 1
    seen = [(TRAIN, parse_run(changed(values, evaluation__splits=["seen"]), "test"))]
    _, few = needs.missing("paper", seen * 2, tmp_path, "local")
    assert few.startswith(
        f"alfworld: demonstrations.tasks={settings.demonstrations.tasks} leave no task for RL: split 'train'"
    )


def test_a_profile_says_where_jobs_go(tmp_path: Path) -> None:
    """Of several, the later ones go over the earlier ones as Snakemake has it, block by block, as a mapping or as a
    list; one that Snakemake does not find is a mistake."""
    assert profile_of([], tmp_path).executor == profile_of(["profiles/default"], ROOT).executor == "local"
    assert profile_of(["slurm"], ROOT).executor == "slurm"
    for name, text in {
        "big": "executor: slurm\ndefault-resources: {gpu_partition: a100, mem_mb: 10}\n",
        "mine": "default-resources:\n  slurm_partition: null\n  gpu_type: t4\n",
        "list": "default-resources:\n  - gpu_partition=h100\n  - gpu_type=None\n",
    }.items():
        (folder := tmp_path / "profiles" / name).mkdir(parents=True)
        (folder / "config.yaml").write_text(text)
    keys = ("gpu_partition", "slurm_partition", "gpu_type", "mem_mb")
    for names, wanted in {
        ("big",): ["a100", None, None, "10"],
        ("big", "mine"): [None, None, "t4", None],
        ("big", "list"): ["h100", None, None, None],
    }.items():
        found = profile_of([f"profiles/{name}" for name in names], tmp_path)
        assert [found.executor, *map(found.resource, keys)] == ["slurm", *wanted]
    with pytest.raises(UserError, match=r"--profile mine: .*did you mean profiles/mine\?"):
        profile_of(["profiles/big", "mine"], tmp_path)


def test_doctor_looks_where_the_profile_sends_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command as a person types it."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    folder = tmp_path / "far"
    folder.mkdir()
    (folder / "config.yaml").write_text("executor: slurm\n")
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--experiment", "paper", "--profile", "far"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "not looked for on this machine" in shown and "needs 1 GPU" not in shown


@pytest.fixture
def mine(copied_pipeline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a model that the experiment `mine` names, with guided decoding, in a project that is entered."""
    folder = copied_pipeline / "warmstart" / "model"
    configs = tmp_path / "project" / "configs"
    shutil.copytree(ROOT / "configs", configs)
    (configs / "model" / "mine.yaml").write_text(f"name: mine\npath: {folder}\nscratch: null\nlora: null\n")
    text = (configs / "experiment" / "test.yaml").read_text()
    text = text.replace("[test]", "[mine]").replace("[alfworld_test, webshop_test]", "[alfworld_test]")
    (configs / "experiment" / "mine.yaml").write_text(text)
    for path in (configs / "experiment").glob("*.yaml"):
        if path.stem not in ("demo", "mine"):
            path.unlink()  # to be quick
    monkeypatch.chdir(configs.parent)
    monkeypatch.setattr(doctor, "examine", lambda root: [])  # the machine has no part in it
    return folder


def another_architecture(folder: Path) -> None:
    edited(folder / "config.json", model_type="qwen3")


def scaled(folder: Path) -> None:
    edited(folder / "config.json", rope_scaling={"type": "stretched", "factor": 4.0})


def other_weights(folder: Path) -> None:
    edited(folder / "config.json", intermediate_size=65)


def no_end(folder: Path) -> None:
    edited(folder / "tokenizer_config.json", eos_token=None)


def no_template(folder: Path) -> None:
    edited(folder / "tokenizer_config.json", chat_template="hello")


def few_positions(folder: Path) -> None:
    edited(folder / "config.json", max_position_embeddings=200)


def tags_in_pieces(folder: Path) -> None:
    content = read_json(folder / "tokenizer.json")
    kept = [token for token in content["added_tokens"] if token["content"] not in TAGS]
    write_json(folder / "tokenizer.json", content | {"added_tokens": kept})


def tags_in_letters(folder: Path) -> None:
    """So that no guided answer is short enough."""
    tags_in_pieces(folder)
    content = read_json(folder / "tokenizer.json")
    write_json(folder / "tokenizer.json", content | {"model": content["model"] | {"merges": []}})


@pytest.mark.parametrize(
    ("change", "alone"),
    [
        (another_architecture, True),
        (scaled, True),
        (other_weights, True),
        (no_end, True),
        (no_template, True),
        (few_positions, False),
        (tags_in_letters, False),
    ],
)
def test_what_a_stage_would_say_of_a_models_folder_is_said_before_the_first_job(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], alone: bool
) -> None:
    """By the workflow's check, by `hiper doctor` with and without the experiment, by `hiper plan` and, where the
    experiment's settings have no part in it (`alone`), by `hiper model`: in the words of the warm start."""
    change(mine)
    runs = compose_grid("mine", Path.cwd())
    with pytest.raises(UserError) as refused:
        warmstart.run(runs[0][1], None, None, tmp_path / "run", tmp_path)
    said = str(refused.value)
    (line,) = needs.missing("mine", runs, Path.cwd(), "local")
    assert said in line
    assert main(["plan", "mine"]) == 0 and plain(said) in plain(capsys.readouterr().out)
    findings = doctor.diagnose(Path.cwd(), "mine")
    assert [one.state for one in findings if said in one.detail] == ["missing"]
    findings = [one for one in doctor.diagnose(Path.cwd()) if one.name == "mine"]
    assert [one.state for one in findings] == ["optional"] and said in findings[0].detail
    status, shown = main(["model", "mine"]), capsys.readouterr()
    assert status == (2 if alone else 0) and (not alone or plain(said) in plain(shown.err))


def plain(text: str) -> str:
    """Without the places where a terminal breaks lines."""
    return "".join(text.split())


def test_a_sound_model_is_described_and_wants_nothing(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its numbers; that a guided answer would be too long is no obstacle where nobody wants one."""
    runs = compose_grid("mine", Path.cwd())
    assert needs.missing("mine", runs, Path.cwd(), "local") == []
    assert any(one.name == "mine" and "can run here" in one.detail for one in doctor.diagnose(Path.cwd()))
    assert main(["model", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "648 positions; answers end with <|im_end|>" in shown and "AutoTokenizer" not in shown
    assert main(["plan", "mine"]) == 0 and "left out" not in capsys.readouterr().out
    tags_in_pieces(mine)
    free = [(name, parse_run(changed(one.model_dump(), decoding__mode="free"), "test")) for name, one in runs]
    assert needs.missing("mine", free, Path.cwd(), "local") == []
    assert main(["model", "mine"]) == 0
    assert "the six tags of an answer are" in capsys.readouterr().out
    told = {key: value for key, value in read_json(mine / "tokenizer_config.json").items() if key != "auto_map"}
    for settings in (told, told | {"auto_map": None}):  # another class; one that the library cannot make
        write_json(mine / "tokenizer_config.json", settings)
        assert main(["model", "mine"]) == 0
        assert "AutoTokenizer does not give the ids" in capsys.readouterr().out


def test_what_follows_a_finished_warm_start_is_asked_of_its_model(mine: Path) -> None:
    """The folder that `model.path` names may be gone by then."""
    runs = compose_grid("mine", Path.cwd())
    made = Path.cwd() / "results" / "mine" / "runs" / str(runs[0][0]) / "model"
    shutil.copytree(mine, made)
    another_architecture(mine)
    later = [run for run in runs if run[0].algorithm != "warmstart"]
    assert needs.missing("mine", later, Path.cwd(), "local") == []
    tags_in_letters(made)
    (line,) = needs.missing("mine", later, Path.cwd(), "local")
    assert "decoding.max_response_tokens = 48, but the shortest answer" in line


def test_heads_that_vllm_does_not_take_are_known_before_they_are_made() -> None:
    """On the CPU, of a model from scratch; on GPUs and with the local sampler there is no such limit."""
    values = compose_run("test", "alfworld_test-test-hiper-seed0", ROOT).model_dump()
    sampled = values["rollout"] | {"backend": "vllm", "memory_share": 0.3, "importance_cap": 2.0}
    for rollout, found in ((values["rollout"], []), (sampled, ["the model test: attention heads of size 16"])):
        run = TRAIN, parse_run({**values, "rollout": rollout}, "test")
        details = [one.detail for one in needs.needs("test", [run], ROOT, "missing")]
        assert [detail.partition(";")[0] for detail in details if "heads" in detail] == found


def test_doctor_says_the_same_with_and_without_the_experiment(mine: Path) -> None:
    """Nothing that one calls missing can run here by the other: models, data, disk, of every run of the grid."""
    path = Path.cwd() / "configs" / "benchmark" / "alfworld_test.yaml"
    path.write_text(path.read_text().replace("source: generate", "source: folder"))
    alone, among = doctor.diagnose(Path.cwd(), "mine"), doctor.diagnose(Path.cwd())
    assert not doctor.able(alone)
    for findings in (alone, among):
        assert not any(one.name == "mine" and one.state == "ok" for one in findings)


def test_an_answer_that_has_no_room_is_refused_before_the_first_job_in_the_words_of_the_stage(
    copied_pipeline: Path,
) -> None:
    """A template that opens a thought costs a token more than the settings by themselves can know."""
    folder = copied_pipeline / "warmstart" / "model"
    template = read_json(folder / "tokenizer_config.json")["chat_template"]
    opened = template.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
    edited(folder / "tokenizer_config.json", chat_template=opened)
    values = compose_run("test", "alfworld_test-test-hiper-seed0", ROOT).model_dump()
    tight = parse_run(changed(values, decoding__max_text_tokens=1, decoding__max_response_tokens=10), "test")
    policy = ModelPolicy(load_tokenizer(folder), tight.decoding, "plan_execute", 600, 1000, "cpu")
    assert policy.guide is not None
    with pytest.raises(UserError, match="max_response_tokens = 10, but the shortest answer") as refused:
        policy.guide.start(["look", "go to shelf 1"], None)
    assert needs.model_problems(folder, [tight]) == [f"the model None: {refused.value}"]
