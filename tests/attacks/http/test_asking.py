"""No body that asks for a host holds a worker of the API, or makes it fail."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
import webob
from hypothesis import given, settings
from hypothesis import strategies as st

from labapi import json_schema
from labapi.api import placements
from labapi.api.schemas import testcases as bodies
from labapi.exceptions import InvalidInput
from tests.lab import Lab, ask

CASE = {"plugin": "linux_system", "method": "run_shell", "parameters": {"command": "true"}}
UUID = "5b9e675c-728d-4eb7-9b9f-cc76ebdd4381"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    metadata = {f"key-{number}": "v" * 4096 for number in range(128)}
    assert ask(lab.app, "/slaves/1/metadata", {"metadata": metadata}, method="PUT")
    yield lab
    lab.stop()


ATTACKS: list[dict[str, Any]] = [
    {"requires": ["a" * 900_000]},
    {"requires": ["rack=" + "(" * 900_000]},
    {"requires": ['rack="' + "\\" * 400]},
    {"requires": [f"key-{number}=x" for number in range(10_000)]},
    {"requires": ["rack in (" + ",".join("x" * 5 for _ in range(80)) + ")"]},
    {"requires": [f"kez-{number}{'x' * 200}" for number in range(32)]},
    {"requires": [f"key-{number}={'w' * 400}" for number in range(32)]},
    {"requires": ["rack=\x00"]},
    {"requires": ["\x00"]},
    {"requires": ["rack=\x1b[2J"]},
    {"requires": ["rack=\u202e"]},
    {"requires": [" " * 500]},
    {"requires": [[[["rack=r7"]]]]},
    {"requires": {"rack": "r7"}},
    {"requires": ["memory_total_mib >= " + "9" * 400]},
    {"requires": ["memory_total_mib >= 1e999"]},
    {"prefer": ["load1 < nan"]},
    {"prefer": [""]},
    {"same_host_as": [UUID] * 10_000},
    {"same_host_as": [f"{number:032x}" for number in range(10_000)]},
    {"same_host_as": ["\x00"]},
    {"different_host_from": [None]},
    {"hosts": [f"h{number}" for number in range(100_000)]},
    {"hosts": ["\x00"]},
    {"hosts": ["'; DROP TABLE hosts; --"]},
    {"hosts": [["lab-1"]]},
    {"group": "\x00"},
    {"group": "%"},
    {"zone": "\x00\x01"},
    {"lease": "' OR 1=1"},
    {"count": 10**400},
    {"count": -1},
    {"count": True},
    {"count": 1.5},
    {"count": "2"},
    {"on_no_host": ["wait"]},
    {"plugin": "\x00"},
]


@pytest.mark.parametrize("dry", ["", "?dry_run=true"])
@pytest.mark.parametrize("fields", ATTACKS, ids=lambda fields: str(fields)[:32].encode().hex())
def test_it_is_refused_soon(lab: Lab, fields: dict[str, Any], dry: str) -> None:
    request = webob.Request.blank(f"/v2.1/testcases{dry}", method="POST", remote_addr="127.0.0.1")
    request.content_type = "application/json"
    request.body = json.dumps({**CASE, **fields}).encode()
    began = time.thread_time()
    answer = request.get_response(lab.app)
    assert time.thread_time() - began < 5  # of the processor
    assert answer.status_int in (400, 404), answer.text
    assert len(answer.body) < 4096
    (fault,) = answer.json.values()
    assert fault["message"].split(":")[0] in {*fields, "the body has a number that is too large"}


@pytest.mark.parametrize(
    "query",
    [
        "requires=" + "a" * 6000,
        "&".join(f"requires=k{number}" for number in range(40)),
        "requires=%00",
        "metadata=%00=%00",
        "metadata=" + "=" * 3000,
        "group=%25",
        "zone=%00",
        "plugin=%00&method=%00",
        "free=true&plugin=" + "x" * 5000,
    ],
    ids=lambda query: query[:24].encode().hex(),
)
def test_filters_of_hosts_find_nothing_or_say_why(lab: Lab, query: str) -> None:
    answer = ask(lab.app, f"/slaves?{query}")
    assert (answer.status_int, answer.json) == (200, {}) or answer.status_int == 400


def test_two_and_a_half_cases_are_two_or_none(lab: Lab) -> None:
    """A number without a fraction is a whole one, however it is written."""
    answer = ask(lab.app, "/testcases", {**CASE, "count": 2.0})
    assert len(answer.json["testcases"]) == 2


FIELDS = sorted(bodies.CREATE.schema["properties"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_body_is_understood_or_refused(body: dict[str, Any]) -> None:
    try:
        json_schema.check(bodies.CREATE, {**CASE, **body})
        placements.check_form(body)
        for field in ("requires", "prefer", "same_host_as"):
            json_schema.texts(field, body.get(field, ()), placements.MAX_CASES)
    except InvalidInput as error:
        told = str(error)
    else:
        told = ""
    assert len(told) < 1000
