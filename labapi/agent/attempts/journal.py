"""The agent's memory on disk: every attempt that it has been given, until well after its report.

A row goes ``waiting`` → ``running`` → ``finished`` → ``reported``; ``refused`` is an attempt that
was cancelled before it arrived, ``distrusted`` one that came signed with an unknown key. What
reports an attempt, and pieces of output that were sent before, are kept until the broker has
confirmed them. Commands are not kept: the conductor resends an attempt until it hears that it has
started, so one that has not started may be forgotten at any time.

Rows grow old by the journal's own clock, which goes on while an agent has the journal open: the
machine's clock may stand in 1970 at first and jump.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from labapi.agent.attempts.journal_file import JournalFile
from labapi.rpc.messages import CancelCase, RunCase


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An attempt that was running when the agent ended.

    :ivar processes: pid and start time, in clock ticks since boot, of what it started
    """

    attempt: str
    case: str
    processes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Unreported:
    """An attempt that has ended and whose report the broker has not confirmed.

    :ivar age: seconds since its end, by this machine's clock, which may have been set since
    :ivar report: encoded messages
    """

    attempt: str
    case: str
    age: float
    report: list[bytes]


class Journal:
    """The journal; safe to use from several threads.

    :param path: the SQLite file, made if it is missing
    :param sync: write every step through to the disk
    :ivar id: a new one whenever something that was written before may be missing
    :raises ConfigError: the file cannot be used
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._lock = threading.Lock()
        self._file = JournalFile(path, sync=sync)
        self._db = self._file.db
        self.id = self._file.id
        (latest,) = self._db.execute("SELECT coalesce(max(changed), 0) FROM attempts").fetchone()
        self._began = time.clock_gettime(time.CLOCK_BOOTTIME) - latest

    def held(self) -> dict[str, str]:
        """Return ``{attempt: case}`` of what has started and is not reported."""
        with self._lock:
            return dict(
                self._db.execute(
                    "SELECT attempt, \"case\" FROM attempts WHERE state IN ('running', 'finished')"
                ).fetchall()
            )

    def accept(self, commands: Sequence[RunCase]) -> dict[str, str]:
        """Note attempts that have arrived.

        :returns: attempt → ``new``, or the state that it was known in already
        :raises sqlite3.Error: nothing was noted
        """
        verdicts: dict[str, str] = {}
        with self._lock, self._together(len(commands)):
            for command in commands:
                done = self._db.execute(
                    'INSERT OR IGNORE INTO attempts (attempt, "case", state, changed)'
                    " VALUES (?, ?, 'waiting', ?)",
                    (command.attempt, command.case, self._now()),
                )
                if done.rowcount == 1:
                    verdicts[command.attempt] = "new"
                elif command.attempt not in verdicts:
                    verdicts[command.attempt] = self._state(command.attempt)
        return verdicts

    def refuse(self, cancel: CancelCase) -> str:
        """Note that an attempt which has not arrived is cancelled; return its state."""
        return self._turn_away(cancel, "refused")

    def distrust(self, command: RunCase) -> str:
        """Note an attempt, unless it is known, that is not to run; return its state."""
        return self._turn_away(command, "distrusted")

    def _turn_away(self, command: CancelCase | RunCase, state: str) -> str:
        with self._lock:
            self._db.execute(
                'INSERT OR IGNORE INTO attempts (attempt, "case", state, changed)'
                " VALUES (?, ?, ?, ?)",
                (command.attempt, command.case, state, self._now()),
            )
            return self._state(command.attempt)

    def started(self, attempt: str) -> None:
        """Note that an attempt is about to start."""
        self._set(attempt, "state = 'running'")

    def process(self, attempt: str, pid: int, start: int) -> None:
        """Note a process of an attempt, by pid and start time in clock ticks since boot."""
        with self._lock:
            self._db.execute(
                "UPDATE attempts SET processes = processes || ? WHERE attempt = ?",
                (f"{pid}:{start} ", attempt),
            )

    def wrote(self, attempt: str, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Keep pieces of output, ``(offset, data)`` each, until they are confirmed."""
        rows = [(attempt, offset, data) for offset, data in pieces]
        with self._lock, self._together(len(rows)):
            self._db.executemany(
                "INSERT OR IGNORE INTO output (attempt, offset, data) VALUES (?, ?, ?)", rows
            )

    def output(self, attempt: str) -> list[tuple[int, bytes]]:
        """Return the pieces of output that are not confirmed, ``(offset, data)`` each."""
        with self._lock:
            return self._db.execute(
                "SELECT offset, data FROM output WHERE attempt = ? ORDER BY offset", (attempt,)
            ).fetchall()

    def finished(self, attempt: str, report: Iterable[bytes]) -> None:
        """Note how an attempt ended.

        :param report: the encoded messages that tell the conductor
        """
        self._set(
            attempt,
            "state = 'finished', processes = '', ended = ?, report = ?",
            time.time(),
            b"\n".join(report),
        )

    def confirmed(self, attempts: Sequence[str], pieces: Sequence[tuple[str, int]]) -> None:
        """Note what the broker has.

        :param attempts: those whose reports it has
        :param pieces: pieces of output, attempt and offset
        """
        ended = bool(attempts)
        with self._lock, self._together(ended + len(pieces)):
            if ended:
                marks = ", ".join("?" * len(attempts))
                self._db.execute(
                    "UPDATE attempts SET state = 'reported', report = NULL, changed = ?"  # noqa: S608
                    f" WHERE state = 'finished' AND attempt IN ({marks})",
                    (self._now(), *attempts),
                )
            self._db.executemany(
                "DELETE FROM output WHERE attempt = ? AND offset = ?",
                pieces,
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

    def unreported(self) -> list[Unreported]:
        """Return attempts that have ended and are not reported, the oldest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT attempt, \"case\", ended, report FROM attempts WHERE state = 'finished'"
                " ORDER BY changed"
            ).fetchall()
        now = time.time()
        return [
            Unreported(attempt, case, max(0.0, now - ended), text.split(b"\n"))
            for attempt, case, ended, text in rows
        ]

    def forget(self, age: float) -> int:
        """Remove what was reported or turned away more than ``age`` seconds ago; say how many."""
        with self._lock:
            self._db.execute(
                "DELETE FROM output WHERE attempt NOT IN"
                " (SELECT attempt FROM attempts WHERE state IN ('running', 'finished'))"
            )
            return self._db.execute(
                "DELETE FROM attempts WHERE state IN ('reported', 'refused', 'distrusted')"
                " AND changed < ?",
                (self._now() - age,),
            ).rowcount

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def _now(self) -> float:
        """Return the journal's own clock: it neither jumps nor goes back."""
        return float(time.clock_gettime(time.CLOCK_BOOTTIME) - self._began)

    def _together(self, changes: int) -> AbstractContextManager[None]:
        """Return a transaction for some statements; one by itself needs none."""
        return _Transaction(self._db) if changes > 1 else nullcontext()

    def _state(self, attempt: str) -> str:
        row = self._db.execute(
            "SELECT state FROM attempts WHERE attempt = ?", (attempt,)
        ).fetchone()
        return str(row[0])

    def _set(self, attempt: str, assignments: str, *values: object) -> None:
        statement = f"UPDATE attempts SET {assignments}, changed = ? WHERE attempt = ?"  # noqa: S608 (constants of this module)
        with self._lock:
            self._db.execute(statement, (*values, self._now(), attempt))


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
