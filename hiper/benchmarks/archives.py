"""Unpacking archives and downloading them, trusting neither: nothing leaves the target folder or stays half-done.

Archives hold plain files and folders only; a link, a device, an absolute path or one with `..` condemns the archive,
and so does a content out of all proportion to its size. Downloads go on where they stopped and are compared with their
checksum.
"""

from __future__ import annotations

import errno
import gzip
import logging
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from hiper.errors import UserError
from hiper.locks import exclusive
from hiper.records import PARTIAL, sha256_file

logger = logging.getLogger(__name__)

ARCHIVE_ENDINGS = (".tar.xz", ".tar.gz", ".tgz", ".tar", ".zip")
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    # what zipfile and tarfile raise for senseless fields in headers
    ValueError,
    OverflowError,
    RuntimeError,
    # one member is a file where another needs a folder
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
)
_SENSELESS = (errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)  # places and names that no archive has
_BLOCK = 1 << 20
_ROOM, _RATIO = 1 << 30, 500  # what an archive may unpack to: so many bytes, or so many times its size; games: 50 times
_ATTEMPTS = 3
_TIMEOUT = 60.0  # seconds without a byte
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Unavailable(UserError):
    """The server cannot be reached or does not have the file."""


@dataclass(frozen=True)
class Download:
    """A file to fetch; `sha256` is None where its publisher states none and nobody has pinned one, `file_name` where
    the address ends in the file's name."""

    url: str
    sha256: str | None = None
    file_name: str | None = None

    @property
    def name(self) -> str:
        return self.file_name or PurePosixPath(urllib.parse.urlsplit(self.url).path).name


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that replaces it when the block succeeds and disappears when it fails.

    One process at a time builds a target; what a killed one left beside it is removed.
    """
    with exclusive(target):
        for leftover in target.parent.glob(f".{target.name}.*{PARTIAL}"):
            shutil.rmtree(leftover)
        workspace = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent))
        try:
            new = workspace / "new"
            new.mkdir()
            yield new
            if target.exists():
                target.rename(workspace / "old")
            new.rename(target)
        except OSError as error:
            if str(error.filename).startswith(str(workspace)):
                error.filename = str(target)  # what anybody can find
            raise
        finally:
            shutil.rmtree(workspace, ignore_errors=True)


def extract(archive: Path, folder: Path) -> None:
    """Unpack a .tar, .tar.xz, .tar.gz or .zip into `folder`; call it inside `building`, for it may stop half-way.

    Raises UserError for an unsafe, damaged or unknown archive.
    """
    name = archive.name.lower()
    if not name.endswith(ARCHIVE_ENDINGS):
        raise UserError(f"{archive}: unknown kind of archive; use one of {', '.join(ARCHIVE_ENDINGS)}")
    try:
        # what it is called decides only where the content does not: browsers and mirrors rename files
        zipped = not tarfile.is_tarfile(archive) if name.endswith(".zip") else _only_zip(archive)
        (_extract_zip if zipped else _extract_tar)(archive, folder)
    except FileNotFoundError:
        raise UserError(f"{archive}: no such archive") from None
    except _BROKEN as error:
        raise UserError(f"{archive}: damaged or cut off ({error}); fetch it again") from None
    except OSError as error:
        if error.errno in _SENSELESS:
            raise UserError(f"{archive}: damaged or cut off ({error.strerror}); fetch it again") from None
        if error.filename is None:
            error.filename = str(folder)  # an error while writing does not know where
        raise


def _only_zip(archive: Path) -> bool:
    return zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive)


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        room = _room(archive)
        for member in tar:
            room = _taken(archive, room, member.size)
            name = _checked(archive, member.name, plain=member.isfile() or member.isdir())
            if member.isfile() and (content := tar.extractfile(member)) is not None:
                _copy(content, folder / name)


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as package:
        room = _room(archive)
        for member in package.infolist():
            room = _taken(archive, room, member.file_size)
            kind = stat.S_IFMT(member.external_attr >> 16)
            name = _checked(archive, member.filename, plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
            if not member.filename.endswith(("/", "\\")):
                with package.open(member) as content:
                    _copy(content, folder / name)


def _checked(archive: Path, name: str, *, plain: bool) -> PurePosixPath:
    """Where a member goes below the target folder; tools of Windows write its separators as backslashes."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not plain:
        raise UserError(f"{archive}: refused, {name!r} is a link or a special file; only plain files are unpacked")
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(path).drive:
        raise UserError(f"{archive}: refused, {name!r} would be written outside the target folder")
    return path


def _room(archive: Path) -> int:
    return max(_ROOM, _RATIO * archive.stat().st_size)


def _taken(archive: Path, room: int, size: int) -> int:
    """What is left of `room` after a member of `size` bytes; both formats never yield more than a header declares."""
    if not 0 <= size <= room:
        raise UserError(
            f"{archive}: refused, it would unpack to more than {_room(archive) >> 20} MB; no games are in it"
        )
    return room - size


def _copy(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        shutil.copyfileobj(content, stream, _BLOCK)


def fetch(download: Download, folder: Path) -> Path:
    """Download into `folder`, resuming an earlier attempt; returns the complete file.

    What has arrived stays in `<name>.part` when the connection breaks, for the next call. Raises Unavailable when there
    is nothing to be had, UserError for everything else: an address that is not https (plain http is taken from this
    machine only), an interrupted transfer, a wrong checksum (the file is then removed).
    """
    complete, partial = folder / download.name, folder / f"{download.name}.part"
    if not complete.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _transfer(download.url, partial)
                break
            except _Interrupted as error:
                logger.warning("%s: %s (attempt %d of %d)", download.url, error, attempt, _ATTEMPTS)
        else:
            raise UserError(f"{download.url}: interrupted; run the same command again to go on where it stopped")
        partial.replace(complete)
    if download.sha256 is not None and (found := sha256_file(complete)) != download.sha256:
        complete.unlink()
        raise UserError(f"{download.url}: the checksum is {found}, expected {download.sha256}; the file was removed")
    return complete


class _Interrupted(Exception):
    """The transfer stopped before the end; what arrived is on disk."""


def _transfer(url: str, partial: Path) -> None:
    start = partial.stat().st_size if partial.exists() else 0
    with _open(url, start) as response:
        if response.status == 416 and response.headers["Content-Range"] == f"bytes */{start}":
            return  # the last attempt lost the connection after the last byte
        if start and not _continues(response, start):
            start = 0
            if response.status != 200:
                partial.unlink()
                raise _Interrupted("what arrived earlier is of another file; starting anew")
        expected = start + int(response.headers["Content-Length"]) if response.headers["Content-Length"] else None
        received = start
        try:
            with partial.open("ab" if start else "wb") as stream:
                while block := response.read(_BLOCK):
                    stream.write(block)
                    received += len(block)
                    _report(partial.stem, received, len(block), expected)
        except (OSError, HTTPException) as error:
            raise _Interrupted(f"{received} bytes arrived, then: {error}") from None
    if expected is not None and received < expected:
        raise _Interrupted(f"{received} of {expected} bytes arrived")


def _continues(response: HTTPResponse, start: int) -> bool:
    return response.status == 206 and (response.headers["Content-Range"] or "").startswith(f"bytes {start}-")


def _open(url: str, start: int) -> HTTPResponse:
    _require_safe(url)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response: HTTPResponse = urllib.request.build_opener(_SafeRedirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            return error  # type: ignore[return-value]  # an HTTPError is a response too
        raise Unavailable(f"{url}: the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        if start:
            raise _Interrupted(str(error)) from None
        raise Unavailable(f"{url}: cannot be reached ({error})") from None
    return response


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from https to an address that is not."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_safe(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UserError(f"{url}: only https addresses are downloaded from")


def _report(name: str, received: int, block: int, expected: int | None) -> None:
    """Log every tenth of a download of known size."""
    if expected and received * 10 // expected != (received - block) * 10 // expected:
        logger.info("%s: %d of %d MB", name, received >> 20, expected >> 20)
