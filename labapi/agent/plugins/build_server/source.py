"""Fetch and unpack a source tree: a program of its own, which ``build_server`` runs.

``python -I source.py SOURCE FOLDER``: SOURCE is the http(s) or file URL of an archive, or the
absolute path of an archive or a folder; FOLDER is made. Only the standard library is used, so that
it runs as any user. Exit status 1, and one line, if it cannot be done.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

MAX_DOWNLOAD = 2 * 1024**3  # bytes of an archive
MAX_UNPACKED = 8 * 1024**3  # bytes of what is in it
MAX_ENTRIES = 500_000  # files and folders in it
TIMEOUT = 30.0  # seconds without a byte after which a server counts as silent
READ = 1024 * 1024  # bytes read at once


class Refused(Exception):
    """A source that cannot be used; the text says why."""


def main(source: str, folder: Path) -> None:
    """Make ``folder`` from what ``source`` names.

    :raises Refused: the source cannot be used
    :raises OSError: it cannot be fetched or written
    """
    scheme = urlsplit(source).scheme
    folder.mkdir()
    if scheme in ("http", "https"):
        with tempfile.TemporaryFile(dir=folder.parent) as archive:
            download(source, archive)
            unpack(archive, folder)
        return
    if scheme == "file":
        path = Path(unquote(urlsplit(source).path))
    elif source.startswith("/"):
        path = Path(source)
    else:
        raise Refused("expected an http(s) or file URL or an absolute path")
    if path.is_dir():
        copy(path, folder)
    else:
        with path.open("rb") as archive:
            unpack(archive, folder)


def download(url: str, target: BinaryIO) -> None:
    """Write what a URL gives to a file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        # Only these: a redirect to file: or ftp: is not followed.
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    size = 0
    with opener.open(url, timeout=TIMEOUT) as answer:
        while piece := answer.read(READ):
            size += len(piece)
            if size > MAX_DOWNLOAD:
                raise Refused(f"the archive is larger than {MAX_DOWNLOAD} bytes")
            target.write(piece)
    target.seek(0)


def unpack(archive: BinaryIO, folder: Path) -> None:
    """Unpack a tar or zip archive; nothing of it lands outside of the folder.

    :raises tarfile.ReadError: it is neither
    """
    if zipfile.is_zipfile(archive):
        archive.seek(0)
        with zipfile.ZipFile(archive) as packed:
            limited(entry.file_size for entry in packed.infolist())
            packed.extractall(folder)  # noqa: S202 (leaves out drives, roots and ".."; no links)
        return
    archive.seek(0)
    with tarfile.open(fileobj=archive, mode="r:*") as packed_tar:
        # The sizes are in the headers, which a first pass reads; the filter refuses what would
        # land or point outside, devices, and rights that matter.
        limited(entry.size for entry in packed_tar)
        packed_tar.extractall(folder, filter="data")


def copy(path: Path, folder: Path) -> None:
    """Copy a folder, links as links."""
    limited(entry.lstat().st_size for entry in path.rglob("*"))
    shutil.copytree(path, folder, symlinks=True, dirs_exist_ok=True)


def limited(sizes: Iterator[int]) -> None:
    """Check that there are not too many entries, nor too large ones together.

    :raises Refused: there are
    """
    total = 0
    for number, size in enumerate(sizes, 1):
        total += size
        if number > MAX_ENTRIES:
            raise Refused(f"the source has more than {MAX_ENTRIES} entries")
        if total > MAX_UNPACKED:
            raise Refused(f"the source is larger than {MAX_UNPACKED} bytes when unpacked")


PROBLEMS = (Refused, OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile)

if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except PROBLEMS as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
