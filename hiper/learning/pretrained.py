"""Where a pretrained model lies: a local folder, or a name of which the Hugging Face cache has a snapshot.

Looking never uses the network; `fetch` does, when a person asks for it. Only configuration, tokenizer and safetensors
are fetched: no code, no pickles, and nothing of what is fetched is run.
"""

from __future__ import annotations

import json
from pathlib import Path

from hiper.errors import UserError
from hiper.paths import expanded, looks_like_path

FETCHED = ("*.json", "*.safetensors", "merges.txt", "tokenizer.model", "*.jinja")
CONFIGURATION, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
ADAPTERS = "adapter_config.json"  # of PEFT
SETTING = "model.path"
OWN = "models"  # of a project: folders converted from GGUF files (`hiper.learning.gguf_folders`)


def find(model: str) -> Path:
    """The folder of `model`, whole; UserError says what is missing and the command that gets it."""
    folder = located(model)
    if folder is None and looks_like_path(model):
        raise UserError(f"model.path={model!r}: there is no folder {expanded(model, SETTING)}; {remedy(model)}")
    if folder is None:
        from huggingface_hub.constants import HF_HUB_CACHE

        raise UserError(
            f"model.path={model!r} is neither a folder nor in the Hugging Face cache ({HF_HUB_CACHE}; HF_HOME names "
            f"another); {remedy(model)}"
        )
    if absent := gaps(folder):
        raise UserError(f"model.path={model!r}: {folder} lacks {', '.join(absent)}; {remedy(model)}")
    return folder


def remedy(model: str) -> str:
    """What to do about a model that is not there or not whole; a folder of somebody's own cannot be fetched."""
    folder = expanded(model, SETTING)
    if (folder / ADAPTERS).is_file():
        return "these are PEFT adapters: merge them into their model (merge_and_unload) and name the folder of that"
    if model and folder.is_dir():
        return "put what is missing there, or set model.path to another folder"
    if looks_like_path(model):
        made = f"make it with `hiper model {folder.name}` (of a GGUF file: --from FILE.gguf), or "
        other = "set model.path to a folder that is there, or to a name on the Hugging Face hub"
        return (made if folder.parent.absolute() == Path(OWN).absolute() else "") + other
    return f"fetch it once with `hiper model {model} --download`, or set model.path to a local folder"


def located(model: str) -> Path | None:
    """Its folder, whole or not; None where there is none."""
    if model and (folder := expanded(model, SETTING)).is_dir():
        return folder
    if looks_like_path(model):
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        configuration = try_to_load_from_cache(model, CONFIGURATION)
    except HFValidationError:
        return None
    return Path(configuration).parent if isinstance(configuration, str) else None


def gaps(folder: Path) -> list[str]:
    """Names of the files that a model folder lacks; a download that was cut short leaves links or shards out."""
    wanted = [CONFIGURATION, TOKENIZER]
    index = folder / INDEX
    if index.exists():
        try:
            listed = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()
            wanted += sorted({str(name) for name in listed})
        except (ValueError, KeyError, AttributeError, TypeError):
            wanted.append(f"a readable {INDEX}")
    elif not list(folder.glob("*.bin")):  # pickles are refused where weights are read, with the reason
        wanted.append(WEIGHTS)
    return [name for name in wanted if not (folder / name).is_file()]


def fetch(model: str) -> Path:
    """Download what is missing of `model` into the cache and return its folder; UserError where that fails. What the
    cache has already is not asked for again."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if looks_like_path(model) or Path(model).is_dir():
        return find(model)
    try:
        folder = Path(snapshot_download(model, allow_patterns=list(FETCHED)))
    except HFValidationError:
        raise UserError(f"{model!r} is no folder here, and no name of a model on the hub (OWNER/NAME)") from None
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{model}: cannot be downloaded ({reason}); check the name, the network, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from None
    if absent := gaps(folder):
        raise UserError(f"{model}: the hub's copy lacks {', '.join(absent)}; choose one in the safetensors format")
    return folder
