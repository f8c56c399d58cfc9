"""``openstack lab`` and ``lab`` with Keystone: who asks, and where the lab is, by its catalogue."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.integration.keystone.client import Client
from tests.integration.keystone.server import Keystone
from tests.programs import BIN


@pytest.fixture(scope="module")
def catalogued(keystone: Keystone, lab: Client) -> Client:
    """Return the lab, which stands in the catalogue."""
    service = keystone.admin("POST", "/services", {"service": {"type": "test-lab", "name": "lab"}})
    url = f"http://127.0.0.1:{lab.port}"
    endpoint = {"service_id": service["id"], "interface": "public", "url": url}
    keystone.admin("POST", "/endpoints", {"endpoint": endpoint})
    return lab


def typed(
    keystone: Keystone, user: str, *words: str, password: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as a user of project alpha."""
    there = {n: v for n, v in os.environ.items() if not n.startswith(("OS_", "LABAPI_"))}
    return subprocess.run(
        [BIN / words[0], *words[1:]],
        env={
            **there,
            "OS_AUTH_URL": keystone.url,
            "OS_USERNAME": user,
            "OS_PASSWORD": password or f"{user}pw",
            "OS_PROJECT_NAME": "alpha",
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
            "OS_IDENTITY_API_VERSION": "3",
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize("typed_as", [("openstack", "lab"), ("lab",)], ids=" ".join)
def test_slave_list(typed_as: tuple[str, ...], keystone: Keystone, catalogued: Client) -> None:
    done = typed(keystone, "alice", *typed_as, "slave", "list", "-f", "json")
    assert done.returncode == 0, done.stderr
    (slave,) = json.loads(done.stdout)
    assert (slave["id"], slave["state"]) == (1, "up")


@pytest.mark.parametrize("typed_as", [("openstack", "lab"), ("lab",)], ids=" ".join)
def test_a_case_has_its_result_as_status(
    typed_as: tuple[str, ...], keystone: Keystone, catalogued: Client
) -> None:
    (slave,) = catalogued.send("GET", "/slaves", "alice").json().values()
    words = ("run", slave["host"], "--", "sh", "-c", "echo here; exit 7")
    done = typed(keystone, "alice", *typed_as, *words)
    assert (done.returncode, done.stdout) == (1, "here\n"), done.stderr
    (case,) = catalogued.send("GET", "/testcases?limit=1", "alice").json()["testcases"]
    assert case["exit_code"] == 7


def test_a_reader_is_refused_in_one_line(keystone: Keystone, catalogued: Client) -> None:
    done = typed(keystone, "rita", "openstack", "lab", "service", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "(req-" in done.stderr


def test_a_password_that_is_wrong(keystone: Keystone, catalogued: Client) -> None:
    done = typed(keystone, "alice", "lab", "slave", "list", password="wrong")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "wrong" not in done.stderr.replace("Keystone", "")


def test_the_commands_stand_in_the_help_of_openstack(keystone: Keystone) -> None:
    done = typed(keystone, "alice", "openstack", "help", "lab", "testcase", "run")
    assert done.returncode == 0, done.stderr
    assert "openstack lab testcase run" in done.stdout
    assert "--junit" in done.stdout
