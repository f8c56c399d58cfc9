"""The agent's memory on disk: every attempt that it has been given, until well after its report.

A row goes ``waiting`` → ``running`` → ``finished`` → ``reported``; ``refused`` is an attempt that
was cancelled before it arrived. The messages that report an attempt are kept until the broker has
confirmed them. Commands are not kept: the conductor resends an attempt until it hears that
it has started, so one that has not started may be forgotten at any time.

SQLite in WAL mode with ``synchronous=NORMAL``: a commit is in the kernel's hands, so a killed agent
loses nothing. A power failure may take the last seconds of the journal with it, and every running
process too; an attempt that is forgotten that way is reported by nobody and ends as ``agent_lost``.
It could run again only if the broker had not read its acknowledgement, which is sent within the
same millisecond. ``journal_sync = true`` (``synchronous=FULL``) closes that gap too, at the price
of a write to the disk for each step of a case.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labapi.exceptions import ConfigError
from labapi.rpc.messages import CancelCase, RunCase

SCHEMA = 1
LOCK_TIMEOUT = 5.0  # seconds to wait for another process that reads the file

_TABLES = """
CREATE TABLE attempts (
    attempt TEXT PRIMARY KEY,
    "case" TEXT NOT NULL,
    state TEXT NOT NULL,
    changed REAL NOT NULL,
    processes TEXT NOT NULL DEFAULT '',
    report BLOB
) WITHOUT ROWID;
CREATE INDEX attempts_state ON attempts (state, changed);
"""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An attempt that was running when the agent ended.

    :ivar processes: pid and start time, in clock ticks since boot, of what it started
    """

    attempt: str
    case: str
    processes: tuple[tuple[int, int], ...]


class Journal:
    """The journal; safe to use from several threads.

    :param path: the SQLite file, made if it is missing
    :param sync: write every step through to the disk
    :raises ConfigError: the file cannot be used
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._lock = threading.Lock()
        try:
            # SQLite gives its other files the mode of this one: nobody else reads what cases print.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(
                path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._db.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={SCHEMA};COMMIT;")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the agent's journal {path} cannot be used: {error}") from error
        if version not in (0, SCHEMA):
            raise ConfigError(f"the agent's journal {path} is of version {version}, not {SCHEMA}")

    def accept(self, commands: Sequence[RunCase]) -> dict[str, str]:
        """Note attempts that have arrived.

        :returns: attempt → ``new``, or the state that it was known in already
        :raises sqlite3.Error: nothing was noted
        """
        verdicts: dict[str, str] = {}
        with self._lock, self._transaction():
            for command in commands:
                done = self._db.execute(
                    'INSERT OR IGNORE INTO attempts (attempt, "case", state, changed)'
                    " VALUES (?, ?, 'waiting', ?)",
                    (command.attempt, command.case, time.time()),
                )
                if done.rowcount == 1:
                    verdicts[command.attempt] = "new"
                elif command.attempt not in verdicts:
                    verdicts[command.attempt] = self._state(command.attempt)
        return verdicts

    def refuse(self, cancel: CancelCase) -> str:
        """Note that an attempt which has not arrived is cancelled; return its state."""
        with self._lock:
            self._db.execute(
                'INSERT OR IGNORE INTO attempts (attempt, "case", state, changed)'
                " VALUES (?, ?, 'refused', ?)",
                (cancel.attempt, cancel.case, time.time()),
            )
            return self._state(cancel.attempt)

    def started(self, attempt: str) -> None:
        """Note that an attempt is about to start."""
        self._set(attempt, "state = 'running'")

    def process(self, attempt: str, pid: int, start: int) -> None:
        """Note a process of an attempt, by pid and start time in clock ticks since boot."""
        self._set(attempt, "processes = processes || ?", f"{pid}:{start} ")

    def finished(self, attempt: str, report: Iterable[bytes]) -> None:
        """Note how an attempt ended.

        :param report: the encoded messages that tell the conductor
        """
        self._set(attempt, "state = 'finished', processes = '', report = ?", b"\n".join(report))

    def reported(self, attempts: Iterable[str]) -> None:
        """Note that the broker has the reports of these attempts."""
        now = time.time()
        with self._lock, self._transaction():
            self._db.executemany(
                "UPDATE attempts SET state = 'reported', report = NULL, changed = ?"
                " WHERE attempt = ? AND state = 'finished'",
                [(now, attempt) for attempt in attempts],
            )

    def forget_waiting(self) -> int:
        """Forget attempts that have not started: when they are resent they are new."""
        with self._lock:
            return self._db.execute("DELETE FROM attempts WHERE state = 'waiting'").rowcount

    def forget_one(self, attempt: str) -> None:
        """Forget an attempt that has not started: when it is resent it is new."""
        with self._lock:
            self._db.execute(
                "DELETE FROM attempts WHERE attempt = ? AND state = 'waiting'", (attempt,)
            )

    def unfinished(self) -> list[Unfinished]:
        """Return the attempts that run, as the journal knows them."""
        with self._lock:
            rows = self._db.execute(
                "SELECT attempt, \"case\", processes FROM attempts WHERE state = 'running'"
            ).fetchall()
        return [Unfinished(attempt, case, _processes(text)) for attempt, case, text in rows]

    def unreported(self) -> list[tuple[str, float, list[bytes]]]:
        """Return attempts, seconds since their end and the encoded messages of their reports.

        The oldest comes first. The seconds are those of this machine's clock, which may have been
        set since.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT attempt, changed, report FROM attempts WHERE state = 'finished'"
                " ORDER BY changed"
            ).fetchall()
        now = time.time()
        return [(name, max(0.0, now - ended), text.split(b"\n")) for name, ended, text in rows]

    def forget(self, age: float) -> int:
        """Remove what was reported or refused more than ``age`` seconds ago; return how many."""
        with self._lock:
            return self._db.execute(
                "DELETE FROM attempts WHERE state IN ('reported', 'refused') AND changed < ?",
                (time.time() - age,),
            ).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    def _state(self, attempt: str) -> str:
        row = self._db.execute(
            "SELECT state FROM attempts WHERE attempt = ?", (attempt,)
        ).fetchone()
        return str(row[0])

    def _set(self, attempt: str, assignments: str, *values: object) -> None:
        statement = f"UPDATE attempts SET {assignments}, changed = ? WHERE attempt = ?"  # noqa: S608 (constants of this module)
        with self._lock:
            self._db.execute(statement, (*values, time.time(), attempt))


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK when an exception passes."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            # Some errors (a full disk) have ended the transaction already, others leave it open.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _processes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (entry.split(":") for entry in text.split())
    return tuple((int(pid), int(start)) for pid, start in pairs)
