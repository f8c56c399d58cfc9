from __future__ import annotations

import threading

import pytest

from labapi.db import notices
from labapi.db.session import Database, Record
from tests import plans
from tests.plans import NOW, after

MAIL = {"mail": "lab@example.org"}
HOOK = {"webhook": "https://ci.example.org/hook", "secret": "s3cret"}


def ended(database: Database, *notify: object, **values: object) -> Record:
    """A plan that has ended just now, with its notices."""
    step = plans.step("Serial-Step-1", plans.entry())
    plan = plans.add(database, {"1": [step]}, notify=notify, **values)
    database.write(notices.add, notices.of_plan(plan.id, plan.notify, NOW))
    return plan


def of(database: Database, plan: Record) -> list[Record]:
    return list(database.read(notices.list_of, plan.id))


@pytest.fixture(autouse=True)
def _nothing_else_is_due(database: Database) -> None:
    for row in database.read(notices.due, after(1e9), 1000):
        database.write(notices.failed, row.id, row.next_at, "of another test", None)


def test_everybody_is_told(database: Database) -> None:
    plan = ended(database, MAIL, HOOK)
    assert [(row.target, row.next_at, row.tries) for row in of(database, plan)] == [
        (MAIL, NOW, 0),
        (HOOK, NOW, 0),
    ]


def test_a_plan_that_tells_nobody(database: Database) -> None:
    plan = ended(database)
    assert notices.of_plan(plan.id, None, NOW) == []
    assert of(database, plan) == []


def test_those_that_are_due_come_in_their_order(database: Database) -> None:
    plan = ended(database, MAIL, HOOK)
    first, second = of(database, plan)
    assert database.write(notices.claim, first, after(60))
    assert [row.id for row in database.read(notices.due, NOW, 10)] == [second.id]
    found = database.read(notices.due, after(60), 10)
    assert [row.id for row in found] == [second.id, first.id]
    assert {row.uuid for row in found} == {plan.uuid}
    assert len(database.read(notices.due, after(60), 1)) == 1


def test_projects_take_turns(database: Database) -> None:
    """One whose webhooks answer slowly keeps nobody else from being told."""
    many = [{"webhook": f"https://{number}.example.org/"} for number in range(20)]
    slow = [ended(database, *many, project_id="slow") for _ in range(3)]
    other = ended(database, MAIL, HOOK, project_id="other")
    found = [row.plan_id for row in database.read(notices.due, NOW, 8)]
    assert sorted(found[:2]) == sorted(found[2:4]) == sorted([slow[0].id, other.id])
    assert set(found[4:]) == {slow[0].id}


def test_only_one_of_many_claims_it(database: Database) -> None:
    plan = ended(database, MAIL)
    (row,) = of(database, plan)
    won: list[bool] = []
    begin = threading.Barrier(4)

    def claim() -> None:
        begin.wait()
        won.append(database.write(notices.claim, row, after(60)))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]
    assert of(database, plan)[0].tries == 1


def test_what_was_sent_is_never_due_again(database: Database) -> None:
    plan = ended(database, MAIL)
    (row,) = of(database, plan)
    database.write(notices.claim, row, after(60))
    database.write(notices.failed, row.id, after(60), "away", after(70))
    (row,) = of(database, plan)
    assert (row.error, row.next_at, row.sent_at) == ("away", after(70), None)
    database.write(notices.claim, row, after(130))
    assert database.write(notices.sent, row.id, after(130), after(71))
    (row,) = of(database, plan)
    assert (row.error, row.next_at, row.sent_at, row.tries) == (None, None, after(71), 2)
    assert database.read(notices.due, after(1e6), 10) == []


def test_what_is_given_up_says_why(database: Database) -> None:
    plan = ended(database, MAIL)
    (row,) = of(database, plan)
    database.write(notices.claim, row, after(60))
    database.write(notices.failed, row.id, after(60), "nobody there", None)
    (row,) = of(database, plan)
    assert (row.error, row.next_at, row.sent_at) == ("nobody there", None, None)


def test_a_claim_that_is_over_settles_nothing(database: Database) -> None:
    """As after a pause of a whole conductor: another one has it by then."""
    plan = ended(database, MAIL)
    (row,) = of(database, plan)
    database.write(notices.claim, row, after(60))
    (again,) = database.read(notices.due, after(60), 1)
    assert database.write(notices.claim, again, after(120))
    assert not database.write(notices.failed, row.id, after(60), "late", None)
    assert not database.write(notices.sent, row.id, after(60), after(61))
    assert of(database, plan)[0].next_at == after(120)
