"""The journal remembers each attempt until well after its report."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from labapi.agent.attempts.journal import Journal
from labapi.agent.processes import proc
from labapi.exceptions import ConfigError
from labapi.rpc.messages import CancelCase
from tests.unit.agent.conftest import HOST, case


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite", sync=True)


def test_an_attempt_goes_its_way(journal: Journal, tmp_path: Path) -> None:
    one, two = case(), case()
    assert journal.accept([one, two, one]) == {one.attempt: "new", two.attempt: "new"}
    assert journal.accept([one]) == {one.attempt: "waiting"}
    journal.started(one.attempt)
    journal.process(one.attempt, 12, 345)
    journal.process(one.attempt, 13, 346)
    again = Journal(tmp_path / "journal.sqlite")
    (left,) = again.unfinished()
    assert (left.attempt, left.case, left.processes) == (
        one.attempt,
        one.case,
        ((12, 345), (13, 346)),
    )
    again.close()
    journal.finished(one.attempt, [b"{}", b"[]"])
    (ended,) = journal.unreported()
    assert (ended.attempt, ended.case) == (one.attempt, one.case)
    assert ended.report == [b"{}", b"[]"]
    assert 0 <= ended.age < 60
    assert journal.held() == {one.attempt: one.case}
    journal.confirmed([one.attempt, two.attempt], [])
    assert journal.held() == {}
    assert journal.unreported() == []
    assert journal.accept([one, two]) == {one.attempt: "reported", two.attempt: "waiting"}


def test_only_what_has_not_begun_can_be_forgotten(journal: Journal) -> None:
    waiting, running, other = case(), case(), case()
    journal.accept([waiting, running, other])
    journal.started(running.attempt)
    for command in (waiting, running):
        journal.forget_one(command.attempt)
    assert journal.accept([waiting, running]) == {
        waiting.attempt: "new",
        running.attempt: "running",
    }
    assert journal.forget_waiting() == 2


def test_a_cancelled_attempt_is_refused_when_it_comes(journal: Journal) -> None:
    late, early = case(), case()
    journal.accept([early])
    for command, state in ((late, "refused"), (late, "refused"), (early, "waiting")):
        assert (
            journal.refuse(CancelCase(case=command.case, attempt=command.attempt, host=HOST))
            == state
        )
    assert journal.accept([late]) == {late.attempt: "refused"}


def test_old_entries_go_and_those_not_reported_stay(journal: Journal) -> None:
    done, kept = case(), case()
    journal.accept([done, kept])
    for command in (done, kept):
        journal.finished(command.attempt, [b"{}"])
    journal.confirmed([done.attempt], [])
    assert journal.forget(3600) == 0
    assert journal.forget(-1) == 1
    assert journal.accept([done, kept]) == {done.attempt: "new", kept.attempt: "finished"}


def test_a_batch_is_taken_whole_or_not_at_all(journal: Journal) -> None:
    (pages,) = journal._db.execute("PRAGMA page_count").fetchone()
    journal._db.execute(f"PRAGMA max_page_count={pages}")
    commands = [case() for _ in range(500)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.accept(commands)
    journal._db.execute("PRAGMA max_page_count=100000")
    assert set(journal.accept(commands).values()) == {"new"}


@pytest.mark.parametrize("years", [56, -56])
def test_a_clock_that_jumps_makes_nothing_old(
    tmp_path: Path, years: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite"
    done, later = case(), case()
    journal = Journal(path)
    journal.accept([done])
    journal.finished(done.attempt, [b"{}"])
    journal.confirmed([done.attempt], [])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + years * 365 * 86400)
    for _ in range(2):
        assert journal.forget(3600) == 0
        assert journal.accept([done, later])[done.attempt] == "reported"
        journal.close()
        journal = Journal(path)


def test_output_is_kept_until_it_is_confirmed(journal: Journal) -> None:
    one, two = case(), case()
    journal.accept([one, two])
    journal.wrote(one.attempt, [(0, b"abc"), (3, b"def")])
    journal.wrote(two.attempt, [(0, b"x")])
    journal.wrote(one.attempt, [(6, b"\n\x00")])
    journal.confirmed([], [(one.attempt, 3)])
    assert journal.output(one.attempt) == [(0, b"abc"), (6, b"\n\x00")]
    for command in (one, two):
        journal.started(command.attempt)
    journal.finished(one.attempt, [b"{}"])
    journal.forget(3600)
    assert len(journal.output(one.attempt)) == 2
    journal.confirmed([one.attempt], [])
    journal.forget(3600)
    assert journal.output(one.attempt) == []
    assert journal.output(two.attempt) == [(0, b"x")]


def killed(journal: Journal) -> str:
    """Let go of the file as an agent does that is killed; return the journal's id."""
    journal._db.close()
    return journal.id


def test_a_journal_that_lacks_nothing_keeps_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite"
    name = killed(Journal(path))
    again = Journal(path)
    assert again.id == name  # the agent was killed, the machine went on
    again.close()
    monkeypatch.setattr(proc, "boot_id", lambda: "the next one")
    assert killed(Journal(path, sync=True)) == name  # closed in the boot before
    monkeypatch.setattr(proc, "boot_id", lambda: "the one after")
    assert Journal(path).id == name  # each step was on the disk


@pytest.mark.parametrize("boot", ["the next one", ""])
def test_a_journal_that_may_have_lost_its_end_has_another_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str
) -> None:
    path = tmp_path / "journal.sqlite"
    name = killed(Journal(path))
    monkeypatch.setattr(proc, "boot_id", lambda: boot)
    assert Journal(path).id != name


@pytest.mark.parametrize("damage", ["lost", "empty", "cut", "overwritten", "something else"])
def test_a_journal_that_is_damaged_is_set_aside_and_has_another_id(
    tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal(path)
    journal.accept([case() for _ in range(500)])
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    name, whole = killed(journal), path.read_bytes()
    if damage == "lost":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut": whole[: len(whole) // 2],
                "overwritten": whole[:5000] + bytes(len(whole) - 5000),
                "something else": b"no database at all" * 100,
            }[damage]
        )
    again = Journal(path)
    assert again.id != name
    assert again.accept([case()])
    aside = path.with_name("journal.sqlite.damaged")
    assert aside.exists() == (damage not in ("lost", "empty"))


def test_a_journal_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.executescript(
            """
            CREATE TABLE attempts (
                attempt TEXT PRIMARY KEY, "case" TEXT NOT NULL, state TEXT NOT NULL,
                changed REAL NOT NULL, processes TEXT NOT NULL DEFAULT '', report BLOB
            ) WITHOUT ROWID;
            CREATE INDEX attempts_state ON attempts (state, changed);
            PRAGMA user_version=1;
            """
        )
        rows = [("a", "c", "finished", time.time() - 60, "", b"{}")]
        rows += [("b", "d", "reported", time.time() - 60, "", None)]
        db.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.close()
    journal = Journal(path)
    (ended,) = journal.unreported()
    assert (ended.attempt, ended.case, ended.report) == ("a", "c", [b"{}"])
    assert 60 <= ended.age < 120
    assert journal.accept([case(attempt="b")]) == {"b": "reported"}
    assert journal.forget(3600) == 0
    assert not journal._db.execute(
        "SELECT name FROM sqlite_master WHERE sql LIKE '% INDEX %'"
    ).fetchall()


def test_a_step_writes_one_page(tmp_path: Path) -> None:
    """Check that a step of a case costs one page of the file: an index would cost others."""
    journal = Journal(tmp_path / "journal.sqlite")
    log = tmp_path / "journal.sqlite-wal"
    first = case()
    journal.accept([first])  # with this it has a page for attempts
    before = log.stat().st_size
    command = case()
    journal.accept([command])
    journal.started(command.attempt)
    journal.process(command.attempt, 12, 345)
    journal.finished(command.attempt, [b"{}"])
    journal.confirmed([command.attempt], [])
    assert (log.stat().st_size - before) / 5 == 24 + 4096  # a frame of the log: its head, the page


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.mkdir()
    with pytest.raises(ConfigError, match=r"journal\.sqlite cannot be used"):
        Journal(path)


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=7")
    db.close()
    with pytest.raises(ConfigError, match="version 7"):
        Journal(path)
