"""`hiper model`: a pretrained model's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, declare


def add(commands: Commands) -> None:
    summary = "where a pretrained model lies, what is missing of it; fetch it"
    parser = declare(commands, "model", model, summary)
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
    return 0
