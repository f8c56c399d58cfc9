"""The API behind a real Keystone: tokens, roles, projects, outages."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.keystone.client import Client
from tests.integration.keystone.conftest import CACHE_SECONDS
from tests.integration.keystone.server import Keystone
from tests.lab import until
from tests.middleware.spoofing import NAMES, SPELLINGS
from tests.programs import Program, run


def test_the_shipped_section_is_sound(sample: str, tmp_path: Path) -> None:
    file = tmp_path / "api-paste.ini"
    file.write_text(sample)
    done = run("labapi-manage", "pipeline", "check", "--paste-config", str(file))
    assert (done.returncode, done.stdout) == (0, f"{file}: nothing is wrong with it\n")
    shown = run("labapi-manage", "pipeline", "show", "--paste-config", str(file), "-f", "json")
    rows = {(r["Part"], r["Option"]): r["Value"] for r in json.loads(shown.stdout)}
    assert rows["keystone", "password"] == "***"
    assert "labapipw" not in shown.stdout


def test_a_token_got_and_used_with_curl(keystone: Keystone, lab: Client) -> None:
    domain = {"id": "default"}
    user = {"name": "alice", "password": "alicepw", "domain": domain}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "alpha", "domain": domain}}
    body = json.dumps({"auth": {"identity": identity, "scope": scope}})
    given = subprocess.run(
        [
            *("curl", "-sS", "-D", "-", "-o", "/dev/null"),
            *("-H", "Content-Type: application/json", "-d", body, f"{keystone.url}/auth/tokens"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    lines = dict(line.split(": ", 1) for line in given.stdout.splitlines() if ": " in line)
    (token,) = [value for name, value in lines.items() if name.lower() == "x-subject-token"]
    used = subprocess.run(
        [
            *("curl", "-sS", "-w", " %{http_code}", "-H", f"X-Auth-Token: {token}"),
            f"http://127.0.0.1:{lab.port}/v2.1/slaves",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert used.stdout.endswith("}}\n 200")


@pytest.mark.parametrize(
    "headers", [[], [("X-Auth-Token", "bogus")], [("X-Auth-Token", "g" * 255)]]
)
def test_no_token_and_bogus_ones(
    lab: Client, keystone: Keystone, headers: list[tuple[str, str]]
) -> None:
    answer = lab.send("GET", "/slaves", headers=headers)
    assert answer.status == 401
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'
    assert "token" not in answer.fault["message"] or "bogus" not in answer.fault["message"]


def test_a_token_that_expires(keystone: Keystone, lab: Client) -> None:
    seconds = 8
    hasty = Keystone(keystone.shared, expiration=seconds)
    try:
        hasty.start()
        before = time.monotonic()
        lab.tokens["hasty"] = hasty.token("alice", "alicepw", "alpha")
        lab.tokens["unseen"] = hasty.token("alice", "alicepw", "alpha")
        end = time.monotonic() + seconds
    finally:
        hasty.stop()
    first = lab.send("GET", "/slaves", "hasty").status
    # Its life is counted in whole seconds; a busy machine may have used it up.
    assert first == 200 or time.monotonic() > before + seconds - 1
    time.sleep(max(0.0, end - time.monotonic()) + 1)
    assert lab.send("GET", "/slaves", "hasty").status == 401
    assert lab.send("GET", "/slaves", "unseen").status == 401


def test_a_token_that_is_revoked(keystone: Keystone, lab: Client) -> None:
    lab.tokens["gone"] = keystone.token("alice", "alicepw", "alpha")
    keystone.revoke(lab.tokens["gone"])
    assert lab.send("GET", "/slaves", "gone").status == 401


def test_a_revoked_token_works_as_long_as_it_is_in_the_cache(
    keystone: Keystone, lab: Client
) -> None:
    lab.tokens["cached"] = keystone.token("alice", "alicepw", "alpha")
    assert lab.send("GET", "/slaves", "cached").status == 200
    keystone.revoke(lab.tokens["cached"])
    until(lambda: lab.send("GET", "/slaves", "cached").status == 401, CACHE_SECONDS + 60)


def test_roles(lab: Client) -> None:
    assert lab.send("GET", "/slaves", "rita").status == 200
    refused = lab.run("rita", "true")
    assert refused.status == 403
    assert "reader" in refused.fault["message"]
    done = lab.run("alice", "true", wait=60)
    assert (done.status, done.json()["result"]) == (200, "PASS")
    assert lab.send("GET", "/services", "alice").status == 403
    assert lab.send("GET", "/services", "admin").status == 200
    # A role that means nothing here.
    assert lab.send("GET", "/slaves", "labapi").status == 403


def test_projects(lab: Client) -> None:
    case = lab.run("alice", "sleep", "600").json()
    path = f"/testcases/{case['id']}"
    for method, url in (("GET", path), ("DELETE", path), ("GET", f"{path}/output")):
        assert lab.send(method, url, "bob").status == 404, (method, url)
    assert [lab.send("GET", path, user).status for user in ("alice", "rita", "admin")] == [200] * 3
    assert lab.send("DELETE", path, "rita").status == 403
    listed = {user: lab.send("GET", "/testcases", user).body for user in ("alice", "bob")}
    assert case["id"].encode() in listed["alice"]
    assert case["id"].encode() not in listed["bob"]
    assert lab.send("DELETE", path, "alice").status in (200, 202, 204)
    until(lambda: lab.send("GET", path, "alice").json()["state"] == "finished")
    assert lab.send("GET", path, "alice").json()["result"] == "CANCELLED"


# The real token and the service's token are no claims; they have tests of their own.
CLAIMS = [
    (spell(name), value)
    for name in NAMES
    if not name.endswith("-Token")
    for spell in SPELLINGS
    for value in ("admin", "Confirmed", "all")
]


def test_claims_count_for_nothing(lab: Client) -> None:
    by_name: dict[str, list[tuple[str, str]]] = {}
    for name, value in CLAIMS:
        by_name.setdefault(name.lower().replace("_", "-"), []).append((name, value))
    for name, headers in by_name.items():
        assert lab.send("GET", "/slaves", None, headers=headers).status == 401, name
        assert lab.send("GET", "/services", "alice", headers=headers).status == 403, name
        assert lab.send("GET", "/services", "admin", headers=headers).status == 200, name
    both = [headers[0] for headers in by_name.values()]
    assert lab.send("GET", "/services", "alice", headers=both).status == 403


def test_a_bogus_service_token_is_refused(lab: Client) -> None:
    headers = [("X-Service-Token", "bogus")]
    assert lab.send("GET", "/slaves", "alice", headers=headers).status == 401


def test_keystone_that_is_away(keystone: Keystone, lab: Client, program: Program) -> None:
    lab.tokens["late"] = keystone.token("alice", "alicepw", "alpha")
    keystone.freeze()
    answer = lab.send("GET", "/slaves", "late")  # who asks does not wait for ever
    keystone.stop()
    try:
        assert (answer.status, answer.fault["code"]) == (503, 503)
        answer = lab.send("GET", "/slaves", "late")
        assert (answer.status, answer.fault["code"]) == (503, 503)
        assert lab.send("GET", "/slaves").status == 401
        assert program.process.poll() is None
    finally:
        keystone.start()
    until(lambda: lab.send("GET", "/slaves", "late").status == 200)
