"""The file of the journal: made, upgraded, or set aside; and its id.

SQLite in WAL mode with ``synchronous=NORMAL``: a commit is in the kernel's hands, so an agent that
is killed loses nothing. When the machine goes down (a power failure), the journal may lose its last
seconds. ``journal_sync = true`` (``synchronous=FULL``) has each step of a case written to the disk.

A journal that is lost, damaged, or may have lost its end gets another id, which the agent
announces: what the host had been given before is not resent, for it may have run already.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path

from oslo_log import log

from labapi.agent.processes import proc
from labapi.exceptions import ConfigError

LOG = log.getLogger(__name__)

SCHEMA = 2
LOCK_TIMEOUT = 5.0  # seconds to wait for another process that reads the file
FILES = ("", "-wal", "-shm")  # what SQLite adds to the name

_ATTEMPTS = """
CREATE TABLE attempts (
    attempt TEXT PRIMARY KEY,
    "case" TEXT NOT NULL,
    state TEXT NOT NULL,
    changed REAL NOT NULL,
    processes TEXT NOT NULL DEFAULT '',
    report BLOB
) WITHOUT ROWID;
"""
# In version 1 ``changed`` was the machine's clock, which may jump by years.
_FROM_1 = """
ALTER TABLE attempts ADD COLUMN ended REAL;
UPDATE attempts SET ended = changed, changed = 0;
CREATE TABLE output (
    attempt TEXT NOT NULL,
    offset INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (attempt, offset)
);
CREATE TABLE journal (
    id TEXT NOT NULL,
    boot TEXT NOT NULL,
    sync INTEGER NOT NULL,
    closed INTEGER NOT NULL
);
"""
_UPGRADES = {0: _ATTEMPTS + _FROM_1, 1: _FROM_1}


class JournalFile:
    """An open file.

    :param path: the SQLite file, made if it is missing; a damaged one is set aside
    :param sync: write every step through to the disk
    :ivar id: a new one whenever something that was written before may be missing
    :raises ConfigError: the file cannot be used
    """

    def __init__(self, path: Path, *, sync: bool) -> None:
        try:
            try:
                self.db, self.id = _open(path, sync)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                _set_aside(path, error)
                self.db, self.id = _open(path, sync)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"the agent's journal {path} cannot be used: {error}") from error

    def close(self) -> None:
        """Note on the disk that nothing is missing, and close the file."""
        try:
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.execute("UPDATE journal SET closed = 1")
        except sqlite3.Error as error:
            LOG.warning("the agent's journal is not closed well: %s", error)
        self.db.close()


def _open(path: Path, sync: bool) -> tuple[sqlite3.Connection, str]:
    """Return the database and its id."""
    # SQLite gives its other files the mode of this one: nobody else reads what cases print.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # the id must be as safe as what it vouches for
        _upgrade(db, path)
        name = _identify(db, path, sync)
        if not sync:
            db.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        db.close()
        raise
    return db, name


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    """Bring the tables to this version.

    :raises ConfigError: they are of a version that is not known here
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version in _UPGRADES:
        db.executescript(f"BEGIN;{_UPGRADES[version]}PRAGMA user_version={SCHEMA};COMMIT;")
    elif version != SCHEMA:
        raise ConfigError(f"the agent's journal {path} is of version {version}, not {SCHEMA}")
    # It doubled what each step of a case writes, and only starts and tidying look for a state.
    db.execute("DROP INDEX IF EXISTS attempts_state")


def _identify(db: sqlite3.Connection, path: Path, sync: bool) -> str:
    """Return the journal's id: a new one if the machine went down and it may lack its end."""
    boot = proc.boot_id()
    found = db.execute("SELECT id, boot, sync, closed FROM journal").fetchone()
    name = uuid.uuid4().hex
    if found is not None:
        known, then, synced, closed = found
        if not closed:
            # The agent did not stop by itself; who knows what else went wrong.
            (problem,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
        if closed or synced or then == boot != "":
            name = known
        else:
            LOG.warning("the machine went down; the end of the journal %s may be lost", path)
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM journal")
    db.execute("INSERT INTO journal VALUES (?, ?, ?, 0)", (name, boot, sync))
    db.execute("COMMIT")
    return name


def _set_aside(path: Path, error: sqlite3.DatabaseError) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    LOG.error("the agent's journal is damaged (%s); it is set aside as %s", error, aside)
    for suffix in FILES:
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.replace(aside.with_name(aside.name + suffix))
