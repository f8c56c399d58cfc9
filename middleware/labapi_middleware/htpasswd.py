"""A password file as ``htpasswd -B`` writes it: one ``user:hash`` a line, bcrypt only."""

from __future__ import annotations

import logging
import os
import re

LOG = logging.getLogger(__name__)

# Each step doubles the time: 15 is 2 to 4 seconds. A login must not be a way to keep a server busy.
_HIGHEST_COST = 15

_HASH = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
# A user's name becomes a header and a word in logs.
_USER = re.compile(r"[!-+\--9;-~]{1,64}", re.ASCII)
# A well-formed hash of no password anybody knows.
_NOBODY = "wVsGPtTyWkBXVDUEjSEP6.cYmhSyVRVdMKIuIqKbiFtkpPDs7Pt6a"

Entries = dict[str, str]


class PasswordFileError(ValueError):
    """The file is missing, cannot be read or does not make sense; the text says which and where."""


def parse(text: str) -> Entries:
    """Read the lines of a password file; blank lines and ``#`` comments do not count.

    :returns: hash by user
    :raises PasswordFileError: with the line's number
    """
    entries: Entries = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        user, _, hashed = stripped.partition(":")
        if not _USER.fullmatch(user) or user == "None":
            raise PasswordFileError(f"line {number}: not a user name (ASCII, no blank, no comma)")
        match = _HASH.fullmatch(hashed)
        if match is None or not 4 <= int(match[1]) <= _HIGHEST_COST:
            raise PasswordFileError(
                f"line {number}: expected a bcrypt hash of cost 4 to {_HIGHEST_COST}; "
                "write it with htpasswd -B"
            )
        if user in entries:
            raise PasswordFileError(f"line {number}: a user that an earlier line has already")
        entries[user] = hashed
    return entries


class PasswordFile:
    """Users and their passwords, read again when the file changes.

    A file that changed into something unreadable is reported in the log; until it is repaired the
    users of the last good one stay.

    :param path: of the file
    :raises PasswordFileError: it cannot be used to begin with
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._seen: tuple[int, ...] | None = self._stat()
            self._use(self._read())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise PasswordFileError(f"{path}: {reason}") from error
        except PasswordFileError as error:
            raise PasswordFileError(f"{path}: {error}") from error

    def __contains__(self, user: str) -> bool:
        """Say whether the file has a user."""
        return user in self._entries

    @property
    def users(self) -> tuple[str, ...]:
        """The users that the file has."""
        return tuple(self._entries)

    def hash_of(self, user: str) -> str:
        """Return a user's hash, or, for a user that does not exist, one that no password has.

        Both take as long to check, so that the time does not tell which users exist.
        """
        self._refresh()
        return self._entries.get(user, self._nobody)

    def _refresh(self) -> None:
        try:
            now = self._stat()
        except OSError:
            now = None
        if now == self._seen:
            return
        self._seen = now  # first, so that a file that stays bad is reported once
        try:
            self._use(self._read())
        except (OSError, ValueError) as error:
            LOG.error("%s: cannot be read again, its former users stay: %s", self._path, error)

    def _stat(self) -> tuple[int, ...]:
        found = os.stat(self._path)
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

    def _read(self) -> Entries:
        with open(self._path, encoding="utf-8") as file:
            return parse(file.read())

    def _use(self, entries: Entries) -> None:
        cost = max((int(hashed[4:6]) for hashed in entries.values()), default=10)
        self._nobody = f"$2b${cost:02d}${_NOBODY}"
        self._entries = entries
