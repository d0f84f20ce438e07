"""Errors of the machine rather than of the code, in plain words: a full disk, no permission, too many open files."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = "the disk is full"
_QUOTA = "the disk quota is used up"
_RESUME = "Earlier results are untouched; afterwards run the same command again: it goes on where it stopped."
_FREE = f"Free some space or write elsewhere. {_RESUME}"
_ALLOW = f"Change its owner or permissions, or write elsewhere. {_RESUME}"

# errno → (what is wrong, what to do). Anything else is no mistake of a person and keeps its traceback.
_KNOWN = {
    errno.ENOSPC: (_FULL, _FREE),
    errno.EDQUOT: (_QUOTA, _FREE),
    errno.EFBIG: ("the file would be larger than this process or file system allows", f"See `ulimit -f`. {_RESUME}"),
    errno.EACCES: ("no permission", _ALLOW),
    errno.EPERM: ("the operation is not permitted", _ALLOW),
    errno.EROFS: ("the file system is read-only", f"Mount it writable or write elsewhere. {_RESUME}"),
    errno.EMFILE: ("this process has too many open files", f"Raise `ulimit -n`. {_RESUME}"),
    errno.ENFILE: ("this machine has too many open files", f"Close other programs. {_RESUME}"),
    errno.EIO: ("the disk reports an input/output error", f"Check the disk (`dmesg`). {_RESUME}"),
    errno.ENOENT: ("no such file or folder", "Check the path, or run the stage that makes it."),
    errno.EISDIR: ("a folder is where a file is expected", "Move it away, or name another path."),
    errno.ENOTDIR: ("a file is where a folder is expected", "Move it away, or name another path."),
    errno.EEXIST: ("a file is where a folder is expected", "Move it away, or name another path."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Name another path."),
    errno.ELOOP: ("symbolic links lead in a circle", "Remove one of them."),
    errno.ESTALE: ("the network file system lost the file", f"Mount it again. {_RESUME}"),
}


def what_to_do(error: OSError) -> str | None:
    """File, what is wrong with it and what to do; None for an error that is no matter of the environment."""
    known = _KNOWN.get(error.errno or 0)
    if known is None:
        return None
    problem, advice = known
    where = str(error.filename) if error.filename is not None else "a file"
    return f"{where}: {problem}{_space(error)}\n{advice}"


def _space(error: OSError) -> str:
    """How much is free where the file lies, for those errors that are about space."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not isinstance(error.filename, str):
        return ""
    folder = next((parent for parent in Path(error.filename).absolute().parents if parent.is_dir()), None)
    if folder is None:
        return ""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return ""
    return f" ({usage.free / 1e6:.1f} MB of {usage.total / 1e6:.1f} MB free in {folder})"
