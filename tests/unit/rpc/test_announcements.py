"""Changes of state that are announced together."""

from __future__ import annotations

import datetime

from labapi.case import Result, State
from labapi.rpc.messages import MAX_DEPTH, CaseChanged, Ending, decode, encode
from labapi.rpc.publisher import TOGETHER, announcements

ENDED = datetime.datetime(2026, 11, 21, 8, tzinfo=datetime.UTC)


def ended(number: int) -> CaseChanged:
    ending = Ending(
        host="lab-1",
        result=Result.PASS,
        exit_code=number,
        data={"number": number},
        finished_at=ENDED,
        output=b"\xff",
    )
    case = f"case-{number}"
    return CaseChanged(case=case, state=State.FINISHED, result=Result.PASS, ending=ending)


def test_changes_to_one_state_are_one_message() -> None:
    begun = CaseChanged(case="begun", state=State.RUNNING)
    changes = [ended(1), begun, ended(2), ended(3)]
    sent = announcements(changes)
    assert [envelope.routing_key for envelope in sent] == ["testcase.finished", "testcase.running"]
    heard = [decode(encode(envelope.message)) for envelope in sent]
    changed = [message for message in heard if isinstance(message, CaseChanged)]
    assert [one for message in changed for one in message.apart()] == [
        *(ended(1), ended(2), ended(3)),
        begun,
    ]


def test_one_by_itself_is_announced_as_ever() -> None:
    (sent,) = announcements([ended(1)])
    assert sent.message == ended(1)
    assert announcements([]) == []


def test_a_message_has_no_more_than_its_reader_reads_at_once() -> None:
    sent = announcements(ended(number) for number in range(2 * TOGETHER + 1))
    bodies = [encode(envelope.message) for envelope in sent]
    assert [body.count(b"case-") for body in bodies] == [TOGETHER, TOGETHER, 1]
    body = bodies[0]
    assert body.count(b"[") + body.count(b"{") <= MAX_DEPTH
