"""Unpack or copy a source tree: a program of its own, which ``build_server`` runs.

``python -I source.py SOURCE FOLDER``: SOURCE is the file URL or the absolute path of an archive, or
the absolute path of a folder; FOLDER is made. Only the standard library is used, so that it runs as
any user. Exit status 1, and one line, if it cannot be done.

The libraries read archives, and nothing else: what is in one is made here, each member relative to
the open folder that holds it, and no link is followed on the way (openat(2), ``O_NOFOLLOW``). So it
does not matter which version of ``tarfile`` checks names how well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import unquote, urlsplit

MAX_UNPACKED = 8 * 1024**3  # bytes of what is in it
MAX_ENTRIES = 500_000  # files and folders in it
MAX_PATH = 4000  # bytes of a name in it; programs can use no paths of more than 4095
MAX_MEMORY = 2 * 1024**3  # bytes of its own memory: headers of an archive may name any length
READ = 1024 * 1024  # bytes read at once

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO does not block, and a device does nothing, before it is known that it is one.
EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

T = TypeVar("T")


class Refused(Exception):
    """A source that cannot be used; the text says why."""


def main(source: str, folder: Path) -> None:
    """Make ``folder`` from what ``source`` names.

    :raises Refused: the source cannot be used
    :raises OSError: it cannot be read or written
    """
    path = Path(unquote(urlsplit(source).path) if source.startswith("file:") else source)
    if not path.is_absolute():
        raise Refused("expected an http(s) or file URL or an absolute path")
    folder.mkdir()
    if path.is_dir():
        copy(path, folder)
    else:
        with regular(path, follow=True) as archive:
            unpack(archive, folder)


class Tree:
    """A folder to fill; nothing in it leads out of it.

    :param folder: an existing one
    """

    def __init__(self, folder: Path) -> None:
        self._root = self._held = os.open(folder, FOLDER)
        self._at: list[str] = []

    def close(self) -> None:
        """Give the file descriptors back."""
        for handle in {self._root, self._held}:
            os.close(handle)

    def folder(self, name: str) -> None:
        """Make a folder, and those that it is in."""
        self._enter(parts(name), name)

    def file(self, name: str, content: IO[bytes], size: int, mode: int = 0, at: float = 0) -> None:
        """Make a file of ``size`` bytes.

        :param mode: as in stat(2); only whether its owner may execute it counts
        :param at: when it was last changed, in seconds since the epoch, 0 for now
        """
        handle = self._made(name, lambda base, last: os.open(last, NEW_FILE, 0o600, dir_fd=base))
        with os.fdopen(handle, "wb") as target:
            while size:
                piece = content.read(min(size, READ))
                if not piece:
                    raise Refused(f"{name!r} ends too early")
                target.write(piece)
                size -= len(piece)
            target.flush()
            os.fchmod(handle, 0o755 if mode & 0o100 else 0o644)
            if at:
                with contextlib.suppress(OSError, ValueError, OverflowError):  # no time at all
                    os.utime(handle, (at, at))

    def link(self, name: str, target: str, *, anywhere: bool = False) -> None:
        """Make a symbolic link, which may point out of the folder if ``anywhere`` says so."""
        if not anywhere and not stays_inside(parts(name), target):
            raise Refused(f"the link {name!r} points outside")
        self._made(name, lambda base, last: os.symlink(target, last, dir_fd=base))

    def twin(self, name: str, target: str) -> None:
        """Make another name (a hard link) of what was made before."""
        *folders, last = parts(target) or [""]
        base = os.dup(self._enter(folders, target))

        def make(at: int, twin: str) -> None:
            os.link(last, twin, src_dir_fd=base, dst_dir_fd=at, follow_symlinks=False)

        try:
            self._made(name, make)
        finally:
            os.close(base)

    def _made(self, name: str, make: Callable[[int, str], T]) -> T:
        """Make something that is not a folder; it replaces an earlier one of the same name."""
        *folders, last = parts(name) or [""]
        if not last:
            raise Refused(f"{name!r} is not the name of a file")
        base = self._enter(folders, name)
        try:
            return make(base, last)
        except FileExistsError:
            os.unlink(last, dir_fd=base)
            return make(base, last)

    def _enter(self, folders: list[str], name: str) -> int:
        """Return the open folder that a path of folders leads to; what is missing is made."""
        if folders == self._at:
            return self._held
        held = os.dup(self._root)
        try:
            for folder in folders:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o755, dir_fd=held)
                inner = os.open(folder, FOLDER, dir_fd=held)
                os.close(held)
                held = inner
        except OSError as error:
            os.close(held)
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise Refused(f"{name!r} leads through something that is not a folder") from error
            raise
        if self._held != self._root:
            os.close(self._held)
        self._held, self._at = held, folders
        return held


def parts(name: str) -> list[str]:
    """Return the names on a path.

    :raises Refused: it leads upwards, or cannot be a path
    """
    found = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in found:
        raise Refused(f"{name!r} leads outside")
    if len(os.fsencode(name)) > MAX_PATH or "\0" in name:
        raise Refused(f"a name of {len(name)} characters cannot be used: {name[:50]!r}…")
    return found


def stays_inside(link: list[str], target: str) -> bool:
    """Say whether a symbolic link stays in the tree.

    It may go upwards at its beginning only: a name may itself be a link, and nobody can say where
    ".." leads after it.
    """
    steps = [part for part in target.split("/") if part not in ("", ".")]
    up = next((at for at, part in enumerate(steps) if part != ".."), len(steps))
    return not target.startswith("/") and up < len(link) and ".." not in steps[up:]


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Unpack a tar or zip archive; nothing of it lands outside of the folder.

    :raises Refused: it is neither, it is damaged, or something in it is not allowed
    """
    tree = Tree(folder)
    try:
        fill = unzip if zipfile.is_zipfile(archive) else untar
        archive.seek(0)
        fill(archive, tree)
    except (Refused, OSError):
        raise
    except Exception as error:
        # The libraries raise many kinds of errors on what is no archive.
        raise Refused(f"the archive cannot be read: {type(error).__name__}: {error}") from error
    finally:
        tree.close()


def unzip(archive: IO[bytes], tree: Tree) -> None:
    """Unpack a zip archive; what is a link in it becomes a file that holds the target."""
    with zipfile.ZipFile(archive) as packed:
        limited(entry.file_size for entry in packed.infolist())
        for entry in packed.infolist():
            if entry.is_dir():
                tree.folder(entry.filename)
            else:
                with packed.open(entry) as content:
                    tree.file(entry.filename, content, entry.file_size)


def untar(archive: IO[bytes], tree: Tree) -> None:
    """Unpack a tar archive, compressed or not."""
    with tarfile.open(fileobj=archive, mode="r:*") as packed:
        # The sizes are in the headers, which a first pass reads.
        limited(entry.size for entry in packed)
        for entry in packed:
            if entry.isdir():
                tree.folder(entry.name)
            elif entry.issym():
                tree.link(entry.name, entry.linkname)
            elif entry.islnk():
                tree.twin(entry.name, entry.linkname)
            elif entry.isreg() and (content := packed.extractfile(entry)) is not None:
                with content:
                    tree.file(entry.name, content, entry.size, entry.mode, entry.mtime)
            else:
                raise Refused(f"{entry.name!r} is neither a file, a folder nor a link")


def copy(path: Path, folder: Path) -> None:
    """Copy a folder, links as links.

    :raises Refused: it holds something that is not a file, a folder or a link
    """
    limited(whole.lstat().st_size for whole in inside(path))
    tree = Tree(folder)
    try:
        for whole in inside(path):
            name = str(whole.relative_to(path))
            if whole.is_symlink():
                tree.link(name, os.readlink(whole), anywhere=True)
            elif whole.is_dir():
                tree.folder(name)
            else:
                with regular(whole) as content:
                    found = os.fstat(content.fileno())
                    tree.file(name, content, found.st_size, found.st_mode, found.st_mtime)
    finally:
        tree.close()


def inside(path: Path) -> Iterator[Path]:
    """Return what is in a folder, at any depth, each folder before what is in it."""

    def fail(error: OSError) -> None:
        raise error

    for base, folders, files in os.walk(path, onerror=fail):
        yield from (Path(base, name) for name in (*folders, *files))


def regular(path: Path, *, follow: bool = False) -> IO[bytes]:
    """Open a file; refuse a device, a FIFO and the like."""
    handle = os.open(path, EXISTING & ~os.O_NOFOLLOW if follow else EXISTING)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused(f"{path} is neither a file, a folder nor a link")
    return os.fdopen(handle, "rb")


def limited(sizes: Iterator[int]) -> None:
    """Check that the entries are not too many, and together not too large.

    :raises Refused: they are
    """
    total = 0
    for number, size in enumerate(sizes, 1):
        total += size
        if number > MAX_ENTRIES:
            raise Refused(f"the source has more than {MAX_ENTRIES} entries")
        if total > MAX_UNPACKED:
            raise Refused(f"the source is larger than {MAX_UNPACKED} bytes when unpacked")


if __name__ == "__main__":
    allowed = resource.getrlimit(resource.RLIMIT_DATA)[1]
    within = MAX_MEMORY if allowed == resource.RLIM_INFINITY else min(MAX_MEMORY, allowed)
    resource.setrlimit(resource.RLIMIT_DATA, (within, allowed))
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except (Refused, OSError, ValueError) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
