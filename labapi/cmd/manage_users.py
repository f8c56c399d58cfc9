"""``labapi-manage user …``: the password file of the filter ``basic``."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import getpass
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt

from labapi.cmd.manage import Operator
from labapi.config import ETC
from labapi.exceptions import InvalidInput

# Where etc/api-paste.ini has it.
FILE = ETC / "htpasswd"
# bcrypt sees no more of a password than this. Bytes.
LONGEST = 72
# Each step doubles the time that a login takes: 12 is a fifth of a second.
COST = 12
_NAME = frozenset(map(chr, range(0x21, 0x7F))) - set(",:")


class UserSet(Operator):
    """Give a user of the filter "basic" a password, as htpasswd -B does.

    The password is asked for at a terminal; otherwise it is the first line of standard input. A new
    file can be read by its owner only; an existing one keeps its owner and mode.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument NAME and the option --file."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="name of the user")
        parser.add_argument(
            "--file", metavar="FILE", type=Path, default=FILE, help=f"default: {FILE}"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write the line; the running API sees it with the next request."""
        name, file = _checked(parsed_args.name), parsed_args.file.resolve()
        hashed = bcrypt.hashpw(_password(name), bcrypt.gensalt(COST)).decode()
        with _alone(file.parent):
            made = not file.exists()
            known = _set(file, name, hashed)
        done = "has a new password" if known else "is new"
        self.app.stdout.write(f"{file}: {name} {done}\n")
        if made:
            owner = getpass.getuser()
            self.app.stdout.write(f"{file} is new, too; only {owner} can read it\n")


def _checked(name: str) -> str:
    if not 1 <= len(name) <= 64 or not set(name) <= _NAME or name == "None" or name[0] == "#":
        raise InvalidInput(
            f"{name!r} cannot be the name of a user; expected 1 to 64 ASCII characters without"
            " blanks, commas and colons"
        )
    return name


def _password(name: str) -> bytes:
    """Ask at the terminal, twice, or read a line of standard input."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Again: ") != password:
            raise InvalidInput("the two are not the same; nothing is changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    encoded = password.encode("utf-8", "surrogateescape")
    if not encoded or len(encoded) > LONGEST or b"\0" in encoded:
        raise InvalidInput(f"expected a password of 1 to {LONGEST} bytes; nothing is changed")
    return encoded


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other calls of this command away from a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _set(file: Path, name: str, hashed: str) -> bool:
    """Write a user's line; say whether there was one, which it replaces."""
    text = file.read_text("utf-8", "surrogateescape") if file.exists() else ""
    lines = text.splitlines()
    of_user = [at for at, line in enumerate(lines) if line.partition(":")[0].strip() == name]
    at = of_user[0] if of_user else len(lines)
    lines[at : at + 1] = [f"{name}:{hashed}"]
    _replace(file, "".join(f"{line}\n" for line in lines))
    return bool(of_user)


def _replace(file: Path, text: str) -> None:
    """Put a file in the place of another one at once, so that nobody reads half of it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")  # mode 0600
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as writing:
            writing.write(text)
            with contextlib.suppress(FileNotFoundError):
                old = file.stat()
                os.fchmod(writing.fileno(), old.st_mode & 0o7777)
                os.fchown(writing.fileno(), old.st_uid, old.st_gid)
            writing.flush()
            os.fsync(writing.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
