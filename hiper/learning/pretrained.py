"""Where a pretrained model lies: a local folder, or a name of which the Hugging Face cache has a snapshot.

Looking never uses the network; `fetch` does, when a person asks for it. Only configuration, tokenizer and safetensors
are fetched: no code, no pickles, and nothing of what is fetched is run.
"""

from __future__ import annotations

import json
from pathlib import Path

from hiper.errors import UserError

FETCHED = ("*.json", "*.safetensors", "merges.txt", "*.jinja")
ADAPTERS = "adapter_config.json"
CONFIGURATION, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


def find(model: str) -> Path:
    """The folder of `model`, whole; UserError says what is missing and the command that gets it."""
    folder = located(model)
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
    """How to come by what is missing of it."""
    if model and (folder := Path(model)).is_dir():
        if (folder / ADAPTERS).exists():
            return f"it holds adapters ({ADAPTERS}): merge them into their base model and save that, tokenizer included"
        return "put all files of the model there, or let model.path name another folder"
    return f"fetch it once with `hiper model {model} --download`, or set model.path to a local folder"


def located(model: str) -> Path | None:
    """Its folder, whole or not; None where there is none."""
    if model and (folder := Path(model)).is_dir():
        return folder
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
            listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
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

    if Path(model).is_dir():
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
