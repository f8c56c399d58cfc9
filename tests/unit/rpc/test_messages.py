"""What a message may not be, however a broken or a hostile agent writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from labapi.exceptions import BadMessage
from labapi.rpc.messages import (
    MAX_BYTES,
    MAX_DATA,
    MAX_DEPTH,
    MAX_REPORT,
    Announce,
    CancelCase,
    CaseResult,
    Introduce,
    LeaseKeys,
    Message,
    Output,
    RunCase,
    Welcome,
    decode,
)

RESULT = b'{"kind":"case_result","case":"c","attempt":"a","host":"h","result":"PASS",%b}'
ANNOUNCE = (
    b'{"kind":"announce","host":"h","agent":"a","address":null,"release":"1","plugins":{},%b}'
)


def nested(levels: int) -> bytes:
    """Return objects within one another."""
    return b'{"x":' * levels + b"1" + b"}" * levels


def test_both_are_messages_without_more() -> None:
    result: Any = decode(RESULT % b'"exit_code":0')
    announced: Any = decode(ANNOUNCE % b'"slots":8')
    assert (result.exit_code, announced.slots) == (0, 8)


def test_a_report_that_a_journal_kept_from_before_the_result_had_its_name() -> None:
    old = RESULT.replace(b'"result"', b'"outcome"') % b'"data":{"outcome":"x"}'
    assert decode(old) == decode(RESULT % b'"data":{"outcome":"x"}')


@pytest.mark.parametrize(
    "more",
    [
        b'"reason":"\xff"',
        b'"data":{"x":"\xff"}',
        b'"data":"\\ud800"',
        b'"data":1e400',
        b'"data":NaN',
        b'"data":' + b"[" * 100_000 + b"]" * 100_000,
        b'"data":"' + b"x" * MAX_BYTES + b'"',
        b'"output":"%"',
        b'"reason":"' + b"x" * 65 + b'"',
        b'"exit_code":2147483648',
        b'"exit_code":' + b"9" * 40,
        b'"output_size":-1',
        b'"output_offset":' + b"9" * 40,
        b'"data":' + nested(MAX_DEPTH),
        b'"data":' + nested(900),
        b'"data":"' + b"x" * MAX_DATA + b'"',
        b'"detail":"' + b"x" * 4001 + b'"',
        b'"case":"' + b"x" * 65 + b'"',
        b'"case":"x\\n2026 forged"',
        b'"attempt":"\\u001b[2J"',
        b'"case":""',
        b'"host":"' + b"x" * 201 + b'"',
        b'"host":"h\\n"',
        b'"host":"#"',
    ],
    ids=lambda more: more[:24].decode("latin-1"),
)
def test_a_result_that_is_none(more: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(RESULT % more)


@pytest.mark.parametrize(
    "more",
    [
        b'"agent":"' + b"x" * 37 + b'"',
        b'"challenge":"' + b"x" * 65 + b'"',
        b'"plugins":{"' + b"x" * 65 + b'":{}}',
        b'"plugins":{"p":{"m":{"description":"' + b"x" * 65537 + b'"}}}',
        b'"plugins":{"p":{"m":{"description":"","schema":' + nested(MAX_DEPTH - 3) + b"}}}",
        b'"x":"' + b"x" * MAX_REPORT + b'"',
        b'"slots":10001',
        b'"slots":-1',
        b'"address":"' + b"x" * 65 + b'"',
        b'"release":5',
    ],
)
def test_an_announcement_that_is_none(more: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(ANNOUNCE % more)


def test_data_may_be_as_deep_as_any_reader_of_it_can_follow() -> None:
    found: Any = decode(RESULT % b'"data":%b' % nested(MAX_DEPTH - 1))
    assert json.loads(json.dumps(found.data)) == found.data


def test_many_values_are_not_deep() -> None:
    decode(RESULT % b'"data":[%b[]]' % (b"[]," * 10 * MAX_DEPTH))


def test_commands_are_signed_and_reports_are_for_the_disk() -> None:
    said = {kind: (kind.signed, kind.repeated) for kind in Message.__subclasses__()}
    assert {said[kind] for kind in (RunCase, CancelCase, Introduce, LeaseKeys, Welcome)} == {
        (True, True)
    }
    assert {said[kind] for kind in (CaseResult, Output, Announce)} == {(False, False)}
