"""The journal remembers each attempt until well after its report."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from labapi.agent.attempts.journal import Journal
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
    ((attempt, age, report),) = journal.unreported()
    assert (attempt, report) == (one.attempt, [b"{}", b"[]"])
    assert 0 <= age < 60
    journal.reported([one.attempt, two.attempt])
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
    journal.reported([done.attempt])
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


@pytest.mark.parametrize("content", [b"no database at all" * 100, None])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "journal.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"journal\.sqlite cannot be used"):
        Journal(path)


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=7")
    db.close()
    with pytest.raises(ConfigError, match="version 7"):
        Journal(path)
