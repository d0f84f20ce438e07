"""What made a folder of results: code, settings, data, versions, seeds, time: `manifest.json`, written last.

It holds no absolute path (but one that a setting names), no environment variable and no host name, so that it can be
published as it is.
"""

from hiper.manifest.contents import MANIFEST, content_hash, files_of
from hiper.manifest.datasets import (
    MADE,
    data_hash,
    data_source,
    data_tagger,
    folder_hash,
    read_made,
    require_data,
    require_unchanged,
)
from hiper.manifest.reading import (
    EVALUATION,
    EVALUATION_MANIFEST,
    TAKEN_FROM,
    again,
    listed_outputs,
    made_with,
    read_manifest,
    require_own,
    verify_outputs,
    withdraw_manifest,
)
from hiper.manifest.surroundings import (
    ask_git,
    benchmark_code,
    bfloat16_units,
    command,
    git,
    git_state,
    package_versions,
)
from hiper.manifest.writing import origin, write_manifest

__all__ = [
    "EVALUATION",
    "EVALUATION_MANIFEST",
    "MADE",
    "MANIFEST",
    "TAKEN_FROM",
    "again",
    "ask_git",
    "benchmark_code",
    "bfloat16_units",
    "command",
    "content_hash",
    "data_hash",
    "data_source",
    "data_tagger",
    "files_of",
    "folder_hash",
    "git",
    "git_state",
    "listed_outputs",
    "made_with",
    "origin",
    "package_versions",
    "read_made",
    "read_manifest",
    "require_data",
    "require_own",
    "require_unchanged",
    "verify_outputs",
    "withdraw_manifest",
    "write_manifest",
]
