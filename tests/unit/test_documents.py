"""The documents: every command, setting, file and link in them is one that exists, and the site of them builds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.pages import settings
from hiper.cli.main import build_parser
from hiper.config import RunSettings
from hiper.planning.assumptions import Assumptions
from hiper.views.estimates import plans

ROOT = Path(__file__).resolve().parents[2]
DEV = "python -m dev."
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "envs/README.md", "config/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in DOCUMENTS}
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
# What the tutorials make, by name or by a file of this name.
MADE = re.compile(
    r"(configs/(experiment/(mine|my_model|small_(slow|common|fast|tuned))|model/mine|algorithm/(hiper_90|reinforce)"
    r"|benchmark/corridor)|profiles/mine/config)\.yaml"
)


def lines_of(text: str) -> list[str]:
    """The lines of code blocks, without what is set before a command; remarks, which two blanks begin, are cut off."""
    lines = [line.strip() for _, block in BLOCK.findall(text) for line in block.splitlines()]
    return [re.split(r"  +", re.sub(r"^([A-Z_]+=\S+ +)+", "", line))[0] for line in lines]


def quoted(text: str) -> list[str]:
    """What stands in backticks in running text."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", BLOCK.sub("", text))


def commands() -> list[tuple[str, str]]:
    """(document, command line) of every `hiper …` in a code block, and of those in running text that have arguments;
    likewise of `python -m dev.…`."""
    found = []
    for name, text in TEXTS.items():
        lines = lines_of(text) + [code for code in quoted(text) if re.match(r"hiper \S+ \S|python -m dev\.", code)]
        found += [(name, line) for line in lines if line.startswith(("hiper ", DEV))]
    return found


@pytest.mark.parametrize(("document", "command"), commands())
def test_commands_in_the_documents_exist(document: str, command: str) -> None:
    """Each is accepted by the command line's own parser."""
    if not command.startswith(DEV):
        build_parser().parse_args(shlex.split(command)[1:])
        return
    room, *arguments = shlex.split(command.removeprefix(DEV))
    parser = import_module(f"dev.{room}.__main__" if (ROOT / "dev" / room).is_dir() else f"dev.{room}").build_parser()
    parser.parse_args(arguments)


def test_documents_show_commands() -> None:
    """The search above finds what it looks for."""
    assert {document for document, _ in commands()} >= {"README.md", "docs/first_hour.md", "docs/how_to/cluster.md"}


def test_what_make_and_snakemake_are_asked_for_exists() -> None:
    """Targets of the Makefile; options of Snakemake's own parser."""
    from snakemake.cli import get_argument_parser

    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    options = {option for action in get_argument_parser()._actions for option in action.option_strings}
    for name, text in TEXTS.items():
        for line in (*lines_of(text), *quoted(text)):
            if made := re.fullmatch(r"make ([a-z-]+)(?: [A-Z]+=\S+)*(?: +#.*)?", line):
                assert made[1] in targets, f"{name}: {line}"
            if line.startswith("snakemake "):
                asked = set(re.findall(r"(?<= )--[a-z-]+", line))
                assert asked <= options, f"{name}: {line}"


def keys(section: Mapping[str, Any], above: str) -> Iterator[str]:
    """Dotted names of the settings in a block of YAML."""
    for key, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def in_experiment(content: Mapping[str, Any]) -> Iterator[str]:
    """The settings of an experiment's file, those for one algorithm, benchmark or model among them."""
    for key, value in content.items():
        if key.startswith("by_"):
            for part in value.values():
                yield from in_experiment(part)
        elif key not in ("defaults", "grid"):
            yield from keys(value, f"{key}.") if isinstance(value, Mapping) else (key,)


def test_settings_in_the_documents_exist() -> None:
    """Those named in running text by their whole name, and all in blocks of YAML: of experiments, or of variants of
    an algorithm, which inherit one."""
    there, sections = settings.names(), set(RunSettings.model_fields)
    found = 0
    for name, text in TEXTS.items():
        said = [match[1] for code in quoted(text) if (match := re.fullmatch(r"([a-z_]+(?:\.[a-z_]+)+)(?:: .*)?", code))]
        said = [one for one in said if one.split(".")[0] in sections and not re.search(r"\.(jsonl?|md|py|yaml)$", one)]
        for content in (yaml.safe_load(block) for kind, block in BLOCK.findall(text) if kind == "yaml"):
            if "name" in content:
                continue  # a file of its own, which tests/workflow follows to the letter
            whole = sections & content.keys() or {"grid"} & content.keys() or any(key[:3] == "by_" for key in content)
            said += in_experiment(content if whole or len(content) == 1 else {"algorithm": content})
        said = [one for one in said if one != "algorithm.defaults"]
        assert [one for one in said if one not in there] == [], name
        found += len(said)
    assert found > 50


def test_files_in_the_documents_exist() -> None:
    """Those of the project that running text names from the root."""
    roots = "configs|docs|dev|envs|hiper|profiles|tests|workflow"
    for name, text in TEXTS.items():
        for code in quoted(text):
            path = re.fullmatch(rf"(?:pytest )?((?:{roots})/[\w./-]+)", code)
            if path and not re.search(r"[A-Z]{3}", path[1]) and not MADE.fullmatch(path[1]):
                assert (ROOT / path[1]).exists(), f"{name}: {code}"


def anchors(path: Path) -> set[str]:
    """What the headings of a document are called in links, of what it includes as well."""
    text = path.read_text(encoding="utf-8")
    included = [anchors(path.parent / name) for name in re.findall(r"^```{include} (\S+)", text, flags=re.MULTILINE)]
    titles = re.findall(r"^#+ (.*)", BLOCK.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}.union(*included)


@pytest.mark.parametrize("path", DOCUMENTS, ids=TEXTS)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link is a file of the project, and what follows `#` a heading in it."""
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", BLOCK.sub("", path.read_text(encoding="utf-8")))
    for target, anchor in links:
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_the_gpu_page_has_the_figures_of_its_experiments_plan() -> None:
    """One run of one algorithm on one GPU, sampled by vLLM, counted as an hour at most; every estimate on the page is
    what is counted now."""
    (plan,), unknown = plans("first_gpu", ROOT, Assumptions())
    run, step, memory = plan.settings, plan.step, plan.memory
    assert not unknown and (run.engine.name, run.engine.device, run.rollout.backend) == ("local", "cuda", "vllm")
    assert (plan.name.model, plan.name.algorithm) == ("qwen2.5_0.5b_instruct", "hiper")
    assert plan.training_seconds + 2 * plan.evaluation_seconds < 3600
    one = step.scoring / plan.passes.scoring  # a forward pass
    text = TEXTS["docs/tutorials/gpu.md"]
    for figure in (
        f"{run.training.iterations} iterations",
        f"every {run.training.checkpoint_minutes:g} minutes",
        f"counts {memory.peak / 1e9:.1f} GB",
        f"{memory.resident / 1e9:.1f} for actor, critic and reference, {memory.training / 1e9:.1f} for the update",
        f"and {memory.generation / 1e9:.1f} for vLLM",
        f"{plan.files(True).kept / 1e9:.1f} GB for the run, and {plan.files(True).checkpoints / 1e9:.1f} for its",
        f"{step.seconds:.0f} s in all",
        f"`rollout` | {step.generation:.0f} s",
        f"{step.turns:.0f} of them are an assumption",
        f"`credit` | {one:.0f} s",
        f"`critic` | {step.critic:.0f} s",
        f"`logprobs` | {one:.0f} s",
        f"`actor` | {step.actor + one:.0f} s",
        f"That is {plan.training_seconds / 3600:.1f} hours",
        f"checkpoints of {plan.checkpoint_seconds:.0f} s each, and {plan.evaluation_seconds:.0f} s of playing",
    ):
        assert figure in text, figure
    assert plan.checkpoints == 3 and "with three checkpoints" in text


def test_every_setting_is_in_the_reference_with_type_readers_and_defaults() -> None:
    """In words; only what is null or missing by default, and what a run is called, has no default in a file."""
    assert {one.name for one in settings.settings()} >= {"seed", "training.critic.gate", "algorithm.group.omega"}
    for one in settings.settings():
        assert one.kind and one.readers and not re.search(r"<\w|\[", one.kind), one
        assert one.defaults or one.name in ("experiment", "seed") or one.name.startswith(("model.lora.", "trials.")), (
            one
        )


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    """As `make docs` does; no page loads anything from elsewhere."""
    recipe = re.search(r"^docs:.*\n\t(.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert recipe is not None
    command = [sys.executable, "-m", *recipe[1].replace("sphinx-build", "sphinx").split()[:-1], str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    elsewhere = re.compile(r"""<(?:script|img|link)[^>]+(?:src|href)="https?:""")
    assert [page.name for page in pages if elsewhere.search(page.read_text(encoding="utf-8"))] == []
