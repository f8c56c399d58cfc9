"""What an operator and an owner see: options, mistakes, logs, ways back in, other front doors."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.swift.cluster import Cluster, Proxy
from tests.integration.swift.curl import curl
from tests.integration.swift.lab import ALLOWED, DENIED, SECRET, Lab, Tokens
from tests.integration.swift.page import documented

A = "/v1/AUTH_test"
PIPELINE, SECTIONS = documented()
HERE, THERE = "127.0.0.2", "127.0.0.3"


@pytest.fixture(scope="module")
def loopback(cluster: Cluster) -> Proxy:
    """The documented pipeline for clients of this machine, who are nothing special."""
    return cluster.start_proxy(
        "loopback", PIPELINE, SECTIONS + "allow_own_addresses = false\noperators = 127.0.0.9\n"
    )


def test_swift_accepts_the_documented_configuration(cluster: Cluster) -> None:
    conf = cluster.write_proxy_conf("documented", 8080, PIPELINE, SECTIONS)
    checked = cluster.check(conf)
    assert checked.returncode == 0, checked


MISTAKES = [
    ("deny_mesage = No", "option 'deny_mesage': there is no such option; did you mean"),
    ("allow = 10.0.0.1/8", "option 'allow': '10.0.0.1/8'"),
    ("metadata = usr", "option 'metadata': 'usr': expected one of user, system"),
    ("closed_by_default = perhaps", "option 'closed_by_default': 'perhaps': expected true or"),
]


@pytest.mark.parametrize(("line", "told"), MISTAKES)
def test_a_wrong_option_stops_the_proxy(cluster: Cluster, line: str, told: str) -> None:
    checked = cluster.check(
        cluster.write_proxy_conf("mistaken", 8080, PIPELINE, f"{SECTIONS}{line}\n")
    )
    assert checked.returncode != 0
    assert f"filter ip_whitelist: {told}" in checked.stdout
    assert "Traceback" not in checked.stdout + checked.stderr


WITHOUT = PIPELINE.replace("ip_whitelist ", "")
MISPLACED = [
    (PIPELINE.replace("ip_whitelist", "ip_whitelist ip_whitelist"), "only once"),
    (WITHOUT.replace("copy ", "ip_whitelist copy "), "left of Bulk"),
    (PIPELINE.replace("ip_whitelist bulk", "bulk ip_whitelist"), None),
    (PIPELINE.replace("symlink proxy-logging", "symlink"), "proxy-logging as the last filter"),
    (
        PIPELINE.replace("ip_whitelist ", "").replace(
            " proxy-server", " ip_whitelist proxy-server"
        ),
        "left of Bulk",
    ),
]


@pytest.mark.parametrize(("pipeline", "told"), MISPLACED)
def test_a_wrong_place_stops_the_proxy(cluster: Cluster, pipeline: str, told: str | None) -> None:
    checked = cluster.check(cluster.write_proxy_conf("misplaced", 8080, pipeline, SECTIONS))
    assert (checked.returncode != 0) == (told is not None), checked
    if told is not None:
        assert told in checked.stdout
        assert "Traceback" not in checked.stdout + checked.stderr


BUILT_BY_HAND = """
from labapi_middleware.ip_whitelist import filter_factory
def app(environ, start_response):
    raise SystemExit("the request went through")
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/v1/a/c/o", "REMOTE_ADDR": "127.0.0.1"}
filter_factory({"log_address": "/dev/null"}, source="swift")(app)(environ, lambda *a: print(a[0]))
"""


def test_a_pipeline_that_swift_has_not_built_lets_nobody_in(cluster: Cluster) -> None:
    """Another loader would not tell the filter the pipeline, and nothing would be guarded."""
    done = subprocess.run(
        [cluster.bin / "python", "-c", BUILT_BY_HAND],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stdout == "503 Service Unavailable\n", done


def test_info_shows_the_filter(door: Callable[[str], str]) -> None:
    info = json.loads(curl(door(DENIED) + "/info").body)
    assert info["ip_whitelist"] == {
        "metadata": "user",
        "prefix": "allow",
        "closed_by_default": False,
    }


def test_a_denial_is_logged(
    lab: Lab, guarded: Proxy, door: Callable[[str], str], token: Tokens
) -> None:
    headers = {**token("owner"), "X-Forwarded-For": "10.9.9.9"}
    answer = curl(door(DENIED) + f"{A}/kept/a%0ab", headers=headers)
    assert answer.status == 403
    lines = [line for line in guarded.log.splitlines() if answer.headers["x-trans-id"] in line]
    (line,) = [line for line in lines if "denied" in line]
    assert f"{DENIED} GET {A}/kept/a%0Ab denied: AUTH_test/kept: not in allow-dev" in line


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (ALLOWED, 200),
        (f"::ffff:{ALLOWED}", 200),
        (DENIED, 403),
        (f"::ffff:{DENIED}", 403),
        ("2001:db8::5", 403),
        ("127.0.0.1", 200),  # the proxy's own: how the operator gets in
    ],
)
def test_the_client_is_whom_the_proxy_protocol_names(
    lab: Lab, door: Callable[[str], str], token: Tokens, address: str, status: int
) -> None:
    assert curl(door(address) + f"{A}/kept/secret", headers=token("owner")).status == status


@pytest.mark.parametrize(
    ("address", "before", "after"),
    [(HERE, 403, 200), (THERE, 403, 403), ("127.0.0.1", 403, 403), ("127.0.0.9", 200, 200)],
)
def test_clients_on_loopback(
    lab: Lab, loopback: Proxy, token: Tokens, address: str, before: int, after: int
) -> None:
    """Own addresses switched off; 127.0.0.9 is an operator's."""
    lab.container("local", {"X-Container-Meta-Allow-Dev": ALLOWED})
    lab.put("local/secret")
    url = loopback.url + f"{A}/local/secret"
    assert curl(url, headers=token("owner"), interface=address).status == before
    lab.send("POST", f"{A}/local", {"X-Container-Meta-Allow-Here": f"10.0.0.0/8, {HERE}"})
    assert curl(url, headers=token("owner"), interface=address).status == after
    lab.send("POST", f"{A}/local", {"X-Remove-Container-Meta-Allow-Here": "x"})


def test_the_option_allow_is_for_everything_to_its_right(
    cluster: Cluster, lab: Lab, token: Tokens
) -> None:
    sections = SECTIONS + f"allow_own_addresses = false\nallow = {HERE}\n"
    url = cluster.start_proxy("fenced", PIPELINE, sections).url
    for path in ("/info", "/auth/v1.0", f"{A}/unlisted/thing", A):
        answer = curl(url + path, headers=token("owner"), interface=THERE)
        assert answer.status == 403
        assert b"IP Denied" in answer.body
    answer = curl(f"{url}{A}/unlisted/thing", headers=token("owner"), interface=HERE)
    assert (answer.status, answer.body) == (200, b"thing")
    answer = curl(f"{url}{A}/kept/secret", headers=token("owner"), interface=HERE)
    assert answer.status == 403
    cluster.stop("fenced")


def swift(cluster: Cluster, url: str, *arguments: str, user: str = "test:tester") -> str:
    """Run the ``swift`` program and return what it says, errors included."""
    key = {"test:tester": "testing", "admin:admin": "admin"}[user]
    done = subprocess.run(
        [cluster.bin / "swift", "--retries", "0", *arguments],
        env={**os.environ, "ST_AUTH": f"{url}/auth/v1.0", "ST_USER": user, "ST_KEY": key},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.stdout + done.stderr


def test_an_owner_with_the_swift_program(
    cluster: Cluster, door: Callable[[str], str], tmp_path: Path
) -> None:
    """The story of docs/swift.md: close it, be locked out, be let in again."""
    allowed, denied = door(ALLOWED), door(DENIED)
    (tmp_path / "thing").write_bytes(SECRET)
    upload = ["upload", "mine", str(tmp_path / "thing"), "--object-name", "thing"]
    swift(cluster, denied, *upload)
    assert "thing" in swift(cluster, denied, "list", "mine")

    swift(cluster, denied, "post", "--meta", f"allow-dev:{ALLOWED}", "mine")
    assert "403 Forbidden" in swift(cluster, denied, "list", "mine")
    assert "IP Denied" in swift(cluster, denied, "download", "mine", "thing", "-o", "-")
    assert "thing" in swift(cluster, allowed, "list", "mine")
    assert SECRET.decode() in swift(cluster, allowed, "download", "mine", "thing", "-o", "-")

    mend = ["post", "--meta", f"allow-home:{DENIED}", "mine"]
    assert "403 Forbidden" in swift(cluster, denied, *mend)
    storage = ["--os-storage-url", f"{door('127.0.0.1')}/v1/AUTH_test"]
    assert "403" not in swift(cluster, door("127.0.0.1"), *storage, *mend, user="admin:admin")
    assert SECRET.decode() in swift(cluster, denied, "download", "mine", "thing", "-o", "-")
    assert SECRET.decode() in swift(cluster, allowed, "download", "mine", "thing", "-o", "-")


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("10.0.0.0/8, 198.51.100.12", 204),
        ("10.0.0.1/8", 400),
        ("everybody", 400),
        ("10.0.0.1 10.0.0.2", 400),
        ("<script>", 400),
    ],
)
def test_a_malformed_list_is_refused_when_it_is_set(
    lab: Lab, door: Callable[[str], str], token: Tokens, value: str, status: int
) -> None:
    headers = {**token("owner"), "X-Container-Meta-Allow-Try": value}
    answer = curl(door(ALLOWED) + f"{A}/kept", "POST", headers, b"")
    assert answer.status == status
    if status == 400:
        assert b"X-Container-Meta-Allow-Try: " in answer.body
        assert answer.headers["content-type"].startswith("text/plain")
    assert curl(door(DENIED) + f"{A}/kept/secret", headers=token("owner")).status == 403
    lab.send("POST", f"{A}/kept", {"X-Remove-Container-Meta-Allow-Try": "x"})


def test_a_malformed_list_that_is_there_lets_nobody_in(
    lab: Lab, door: Callable[[str], str], token: Tokens
) -> None:
    """A proxy without the filter, or an earlier time, can have let it in."""
    lab.container("mistyped", {"X-Container-Meta-Allow-Dev": f"{ALLOWED}x"})
    lab.put("mistyped/secret")
    for address in (ALLOWED, DENIED):
        assert curl(door(address) + f"{A}/mistyped/secret", headers=token("owner")).status == 403
