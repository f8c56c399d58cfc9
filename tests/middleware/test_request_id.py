"""request_id: an id of the service's own for every request."""

from __future__ import annotations

import re
import uuid

import pytest

from labapi_middleware.request_id import RequestId
from tests.middleware.conftest import build, call, environ, plain, validated

OWN = r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
CLAIMED = "req-5b9e675c-728d-4eb7-9b9f-cc76ebdd4381"


def test_each_request_has_an_id_and_its_answer_too(recorder):
    app = build(RequestId, recorder)
    ids = set()
    for _ in range(50):
        answer = call(app, environ())
        ids.add(recorder.environ["labapi.request_id"])
        assert answer.headers["X-Openstack-Request-Id"] == recorder.environ["labapi.request_id"]
        assert re.fullmatch(OWN, recorder.environ["labapi.request_id"])
        number = uuid.UUID(recorder.environ["labapi.request_id"][4:])
        assert (number.version, number.variant) == (4, uuid.RFC_4122)
    assert len(ids) == 50


def test_a_clients_id_is_kept_beside(recorder):
    call(build(RequestId, recorder), environ(headers={"X-Openstack-Request-Id": CLAIMED}))
    assert recorder.environ["labapi.global_request_id"] == CLAIMED
    assert recorder.environ["labapi.request_id"] != CLAIMED


@pytest.mark.parametrize("claimed", ["", "req-1", CLAIMED + "\n", CLAIMED + "x", "x" + CLAIMED])
def test_what_is_no_id_is_dropped(recorder, claimed):
    call(build(RequestId, recorder), environ(headers={"X-Openstack-Request-Id": claimed}))
    assert "labapi.global_request_id" not in recorder.environ


def test_it_conforms_to_wsgi():
    assert call(validated(build(RequestId, validated(plain()))), environ()).body == b"ok"
