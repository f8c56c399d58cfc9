"""What leases and groups take from callers: times at their borders, keys, and names."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import HOST, Lab, ask

HUGE = int("9" * 400)
KIND = b"ssh-ed25519"
KEY = struct.pack(">I", len(KIND)) + KIND + struct.pack(">I", 32) + b"k" * 32
GOOD = f"ssh-ed25519 {base64.b64encode(KEY).decode()}"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start()
    yield lab
    lab.stop()


def refused(app: Any, path: str, body: Any, method: str = "POST") -> str:
    """Send a body that cannot be used; return what the answer says."""
    answer = ask(app, path, body, method=method)
    assert answer.status_int in (400, 403, 404), answer.text
    assert len(answer.body) < 4096
    (fault,) = answer.json.values()
    message: str = fault["message"]
    assert message.isprintable()
    return message


TIMES: list[dict[str, Any]] = [
    {},
    {"seconds": 0},
    {"seconds": -1},
    {"seconds": HUGE},
    {"seconds": 1e308},
    {"seconds": True},
    {"seconds": "5"},
    {"seconds": 5, "until": "2999-01-01"},
    {"until": "2020-01-01T00:00:00Z"},
    {"until": "9999-12-31T23:59:59Z"},
    {"until": "9999-12-31T23:59:59-23:59"},
    {"until": "0001-01-01T00:00:00+23:59"},
    {"until": "\u0662\u0660\u0662\u0666-01-01"},
    {"until": "\x00"},
    {"until": 5},
]


@pytest.mark.parametrize("time", TIMES, ids=map(str, range(len(TIMES))))
def test_no_lease_lasts_for_ever_or_not_at_all(lab: Lab, time: dict[str, Any]) -> None:
    assert refused(lab.app, "/leases", {"hosts": [HOST], **time}).split(":")[0] in {
        "seconds",
        "until",
        "seconds, until",
    }


@pytest.mark.parametrize("time", TIMES, ids=map(str, range(len(TIMES))))
def test_nor_is_one_renewed_so(lab: Lab, time: dict[str, Any]) -> None:
    lease = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 60}).json
    try:
        refused(lab.app, f"/leases/{lease['id']}", time, "PUT")
        assert ask(lab.app, f"/leases/{lease['id']}").json == lease
    finally:
        assert ask(lab.app, f"/leases/{lease['id']}", method="DELETE").status_int == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"hosts": []},
        {"hosts": [HOST], "count": 1},
        {"hosts": ["\x00"]},
        {"hosts": ["\x1b[2J"]},
        {"hosts": [f"{HOST} "]},
        {"hosts": [f"h{number}" for number in range(1001)]},
        {"hosts": [[HOST]]},
        {"count": 0},
        {"count": -1},
        {"count": HUGE},
        {"count": 1.5},
        {"count": 1000},
        {"count": 1, "requires": ["\x00"]},
        {"count": 1, "requires": ["a" * 100_000]},
        {"count": 1, "requires": [f"k{number}=v" for number in range(10_000)]},
        {"count": 1, "group": "%"},
        {"count": 1, "zone": "\x1b[2J"},
        *({"count": 1, "note": note} for note in ("x" * 256, "", "\x1b[2J", "a\nb", "\u202e", 5)),
        {"count": 1, "": 1},
    ],
    ids=lambda fields: str(fields)[:40].encode().hex(),
)
def test_what_is_leased(lab: Lab, fields: dict[str, Any]) -> None:
    refused(lab.app, "/leases", {"seconds": 60, **fields})
    assert all(row["state"] == "ended" for row in ask(lab.app, "/leases").json["leases"])


@pytest.mark.parametrize(
    "key",
    [
        f'command="sh" {GOOD}',
        f'restrict,environment="A=b" {GOOD}',
        f"{GOOD}\n{GOOD}",
        f"{GOOD} a comment\n",
        f"{GOOD} a comment\r{GOOD}",
        f"{GOOD}\x00",
        f" {GOOD}",
        f"\t{GOOD}",
        f"#{GOOD}",
        f"@cert-authority {GOOD}",
        GOOD.replace("ssh-ed25519 ", "ssh-rsa "),
        GOOD.replace("ssh-ed25519 ", "ssh-ed25519-cert-v01@openssh.com "),
        GOOD[:-10],
        GOOD[:60],
        f"{GOOD} {'x' * 5000}",
        f"{GOOD} \u202e",
        "",
    ],
)
def test_a_key_is_a_key_and_no_more(lab: Lab, key: str) -> None:
    body = {"hosts": [HOST], "seconds": 60, "keys": [GOOD, key]}
    assert refused(lab.app, "/leases", body).startswith("keys.1: ")


def test_of_a_key_nothing_is_kept_but_the_key(lab: Lab) -> None:
    keys = [f'{GOOD} command="sh" {GOOD}', GOOD]
    lease = ask(lab.app, "/leases", {"hosts": [HOST], "seconds": 60, "keys": keys}).json
    assert lease["keys"] == [GOOD]
    assert ask(lab.app, f"/leases/{lease['id']}", method="DELETE").status_int == 204


@pytest.fixture(scope="module")
def admin(lab: Lab) -> Any:
    return lab.app_of("admins", "admin, member, reader")


@pytest.mark.parametrize(
    "fields",
    [
        *({"name": name} for name in ("", "a\n", "\x00", "a b", "../a", "\uff47", "a" * 65, [])),
        {"name": "5b9e675c-728d-4eb7-9b9f-cc76ebdd4381"},
        *({"hosts": [host]} for host in ("\x00", f"{HOST} ", HOST.upper(), f"{HOST}\u200b", 5)),
        *({"projects": [name]} for name in ("", " ", "a ", " a", "a\n", "a\x00", "\x1b[2J", None)),
        {"projects": ["a", "a "]},
        {"projects": ["a" * 256]},
        {"metadata": {"a b": "c"}},
        {"metadata": {"a": 1}},
        {"health_case": {"plugin": "a", "method": "b", "timeout": HUGE}},
        {"health_case": {"plugin": "a", "method": "b", "host": HOST}},
    ],
    ids=(str(number) for number in itertools.count()),
)
def test_what_a_group_is(admin: Any, fields: dict[str, Any]) -> None:
    refused(admin, "/groups", {"name": "a-group", **fields})
    assert ask(admin, "/groups").json == {"groups": []}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_members_change_no_groups(lab: Lab, admin: Any, method: str) -> None:
    assert ask(admin, "/groups", {"name": "kernel", "projects": ["noauth"]}).status_int == 201
    member = lab.app_of("noauth")
    path = "/groups" if method == "POST" else "/groups/kernel"
    body = None if method == "DELETE" else {"name": "mine"}
    try:
        assert "policy" in refused(member, path, body, method)
    finally:
        assert ask(admin, "/groups/kernel", method="DELETE").status_int == 204
