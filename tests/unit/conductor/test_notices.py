"""Telling of the ends of plans, with a real mail server and a real webhook."""

from __future__ import annotations

import datetime
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from labapi import config
from labapi.conductor import notices as module
from labapi.conductor.notices import Notices
from labapi.db import notices
from labapi.db.session import Database, Record
from labapi.exceptions import DatabaseUnavailable
from tests import plans
from tests.plans import entry, step
from tests.processes import free_port, until
from tests.receivers import Hook, MailServer, answer

MAIL = {"mail": "lab@example.org"}
SECRET = "s3cret"


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return now() + datetime.timedelta(seconds=seconds)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_else_is_due(database: Database) -> None:
    for row in database.read(notices.due, after(1e6), 1000):
        database.write(notices.failed, row.id, row.next_at, "of another test", None)


def sender(database: Database, port: int | None = None, **options: Any) -> Notices:
    given = {
        "notify__smtp_host": "127.0.0.1",
        "notify__smtp_port": port or free_port(),
        "notify__smtp_security": "none",
        "notify__allowed_networks": ["127.0.0.0/8"],
        "conductor__sweep_interval": 0.1,
        **{f"notify__{name}": value for name, value in options.items()},
    }
    return Notices(config.new(**given), database)


def ended(database: Database, *notify: Any, **values: Any) -> Record:
    """A plan that has ended just now, with its notices."""
    entries = [entry("PASS", "fine\n", tries=2), entry("FAIL", "no\n", detail="2 lost")]
    steps = {"1": [step("Serial-Step-1", *entries)]}
    plan = plans.add(database, steps, notify=notify, **{"result": "FAIL", **values})
    database.write(notices.add, notices.of_plan(plan.id, plan.notify, now()))
    return plan


def of(database: Database, plan: Record) -> list[Record]:
    return list(database.read(notices.list_of, plan.id))


def to(hook: Hook) -> dict[str, str]:
    return {"webhook": hook.url, "secret": SECRET}


def test_everybody_is_told(database: Database, mail: MailServer, hook: Hook) -> None:
    plan = ended(database, MAIL, to(hook))
    assert sender(database, mail.port).send_due(now()) == 2
    assert all(row.sent_at and row.next_at is None for row in of(database, plan))
    assert mail.taken[0]["Subject"] == "[labapi] FAIL: two stations"
    ((_, headers, body),) = hook.taken
    told = json.loads(body)
    assert (told["id"], told["result"], told["name"]) == (plan.uuid, "FAIL", "two stations")
    assert (told["counts"]["FAIL"], told["counts"]["flaky"]) == (1, 1)
    assert headers["X-Labapi-Event"] == "testplan.finished"
    assert sender(database, mail.port).send_due(after(1e6)) == 0
    assert (len(mail.taken), len(hook.taken)) == (1, 1)


def test_a_server_that_comes_back(database: Database) -> None:
    plan = ended(database, MAIL)
    port = free_port()
    assert sender(database, port).send_due(now()) == 1
    (row,) = of(database, plan)
    assert "Connection refused" in row.error
    with MailServer(port) as server:
        assert sender(database, port).send_due(now()) == 0  # it is not due yet
        assert sender(database, port).send_due(row.next_at) == 1
    assert len(server.taken) == 1
    (row,) = of(database, plan)
    assert (row.error, row.tries) == (None, 2)
    assert row.sent_at


def test_pauses_grow_until_it_is_given_up(database: Database, hook: Hook) -> None:
    plan = ended(database, to(hook))
    hook.behaviours = [answer(500) for _ in range(99)]
    pauses, at = [], now()
    telling = sender(database, retry_interval=10.0, max_age=100.0)
    while at is not None:
        began = now()
        assert telling.send_due(at) == 1
        (row,) = of(database, plan)
        at = row.next_at
        if at is not None:
            pauses.append((at - began).total_seconds())
    # Each is counted from the answer: what a busy machine needs for that is added.
    for pause, least in zip(pauses, (10, 20, 40, 80), strict=True):
        assert least <= pause < 2 * least
    assert (row.tries, row.sent_at) == (5, None)
    assert row.error == "127.0.0.1 answered 500 Internal Server Error"


def test_what_can_never_work_is_given_up_at_once(
    database: Database, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    plan = ended(database, MAIL, to(hook))
    telling = sender(database, smtp_host=None, allowed_networks=[])
    assert telling.send_due(now()) == 2
    first, second = of(database, plan)
    assert (first.next_at, second.next_at) == (None, None)
    assert "smtp_host" in first.error
    assert "forbidden (loopback)" in second.error
    assert not hook.taken
    assert any("lab@example.org is not told" in text for text in caplog.messages)


def test_no_secret_is_logged(
    database: Database, hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="sqlalchemy")  # as the programs have it
    target = {"webhook": f"{hook.url}?token=t0ken", "secret": SECRET}
    hook.behaviours = [answer(500)]
    plan = ended(database, target)
    sender(database).send_due(now())
    sender(database).send_due(after(3600))
    assert len(hook.taken) == 2
    assert "webhook at 127.0.0.1" in caplog.text
    assert SECRET not in caplog.text
    assert "t0ken" not in caplog.text
    assert all("t0ken" not in str(row.error) for row in of(database, plan))


def test_two_conductors_send_it_once(database: Database, hook: Hook) -> None:
    for _ in range(10):
        ended(database, to(hook))
    both = [sender(database), sender(database)]
    for telling in both:
        telling.start()
    try:
        until(lambda: len(hook.taken) >= 10)
        until(lambda: not database.read(notices.due, after(1e6), 10))
    finally:
        for telling in both:
            telling.stop()
    keys = [headers["X-Labapi-Delivery"] for _, headers, _ in hook.taken]
    assert len(keys) == len(set(keys)) == 10


def test_a_receiver_that_hangs_keeps_nobody_waiting(database: Database, hook: Hook) -> None:
    release = threading.Event()
    hook.behaviours = [lambda _: release.wait(60)]
    plan = ended(database, to(hook))
    with Hook() as other:
        ended(database, to(other))
        began = time.monotonic()
        assert sender(database, timeout=1.0).send_due(now()) == 2
        assert time.monotonic() - began < 30
        assert len(other.taken) == 1
    release.set()
    (row,) = of(database, plan)
    assert row.error == "127.0.0.1: no answer within 1 s"


def test_what_a_killed_conductor_had_claimed_is_sent_later(database: Database, hook: Hook) -> None:
    plan = ended(database, to(hook))
    (row,) = of(database, plan)
    assert database.write(notices.claim, row, after(120))
    assert sender(database).send_due(now()) == 0
    assert sender(database).send_due(after(121)) == 1
    assert len(hook.taken) == 1


def test_what_was_sent_is_noted_after_an_outage(
    database: Database, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.05)
    plan = ended(database, to(hook))
    sent, failures = notices.sent, [1, 2]

    def outage(*args: Any) -> bool:
        if failures:
            failures.pop()
            raise DatabaseUnavailable("the database is away")
        return sent(*args)

    monkeypatch.setattr(notices, "sent", outage)
    assert sender(database).send_due(now()) == 1
    assert of(database, plan)[0].sent_at
    assert len(hook.taken) == 1


def test_a_mail_is_bounded(database: Database, mail: MailServer) -> None:
    many = [entry("FAIL", "x" * 5000) for _ in range(30)] + [entry("PASS")]
    plan = plans.add(database, {"1": [step("Serial-Step-1", *many)]}, notify=[MAIL])
    database.write(notices.add, notices.of_plan(plan.id, plan.notify, now()))
    sender(database, mail.port, max_log=31_000, max_entries=20).send_due(now())
    (message,) = mail.taken
    text, page, log = (part for part in message.walk() if not part.is_multipart())
    assert "the first 20 entries" in text.get_content()
    assert page.get_content().count("<pre") == 20
    assert 20_000 < len(log.get_content()) < 24_000


def test_a_plan_that_is_gone(database: Database, hook: Hook) -> None:
    row = {"plan_id": 2**40, "target": to(hook), "tries": 0, "next_at": now(), "created_at": now()}
    database.write(notices.add, [row])
    assert sender(database).send_due(now()) == 0  # nobody is told of what is not there
    assert not hook.taken
