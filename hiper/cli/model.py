"""`hiper model`: a pretrained model's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, declare


def add(commands: Commands) -> None:
    summary = "where a pretrained model lies, what is missing of it, whether it can be used; fetch it"
    parser = declare(commands, "model", model, summary)
    parser.description = f"{summary}; hiper doctor --experiment NAME asks about an experiment's settings as well"
    parser.add_argument(
        "model", metavar="MODEL", help="a file name in configs/model, a name on the Hugging Face hub, or a folder"
    )
    parser.add_argument(
        "--download", action="store_true", help="fetch what is missing: configuration, tokenizer and safetensors only"
    )


def model(arguments: argparse.Namespace) -> int:
    from hiper.compose import available, configuration_file
    from hiper.errors import UserError
    from hiper.learning import pretrained
    from hiper.yaml_files import read_yaml

    name, root = arguments.model, Path.cwd()
    if (root / "configs" / "model").is_dir() and name in available("model", root):
        name = read_yaml(configuration_file("model", name, root)).get("path")
        if name is None:
            raise UserError(
                f"configs/model/{arguments.model}.yaml: made from scratch by a run; there is nothing to fetch"
            )
    folder = pretrained.fetch(name) if arguments.download else pretrained.find(name)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    print(f"{folder} ({size / 1e9:.2f} GB)")
    for line in facts(folder):
        print(line)
    return 0


def facts(folder: Path) -> list[str]:
    """What settings must fit to; UserError where no stage could use the model."""
    from hiper.errors import UserError
    from hiper.learning.guide import Guide
    from hiper.plan_execute import opens_thought
    from hiper.planning.shapes import parameters
    from hiper.policies.tokenizer_files import chat_frame, ends, read_alike
    from hiper.policies.usable import computed_by, opened

    shape, tokenizer = opened(folder)
    ending = ", ".join(tokenizer.convert_ids_to_tokens(sorted(ends(tokenizer))))
    found = [
        f"{parameters(shape):,} parameters, {shape.max_position_embeddings:,} positions; answers end with {ending}"
    ]
    if other := computed_by(shape):
        found.append(other)
    try:
        Guide(tokenizer, "plan_execute", 1, int(tokenizer.eos_token_id))
    except UserError as error:
        found.append(str(error))
    if not read_alike(tokenizer, folder):
        found.append("AutoTokenizer does not give the ids of tokenizer.json, which is what is followed here")
    if opens_thought(chat_frame(tokenizer)[1]):
        found.append("its chat template begins every answer inside <think>")
    return found
