"""``lab lease …``."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.client.alone.scripted import Say, Scripted
from tests.client.cli.conftest import Type
from tests.lab import HOST
from tests.processes import until
from tests.programs import BIN


def test_a_lease_from_its_beginning_to_its_end(type_: Type) -> None:
    made = type_(
        *("lease", "create", HOST, "--seconds", "600", "--note", "a benchmark", "-f", "json")
    ).json()
    lease = made["id"]
    try:
        assert (made["state"], made["hosts"], made["note"]) == ("active", [HOST], "a benchmark")
        (listed,) = type_("lease", "list", "--state", "active", "-f", "json").json()
        assert listed["id"] == lease
        assert f"| {HOST} |" in type_("lease", "list").out
        renewed = type_("lease", "renew", lease, "--seconds", "6000", "-f", "json").json()
        assert renewed["ends_at"] > made["ends_at"]
        taken = type_("lease", "create", HOST, "--seconds", "1")
        assert taken.status == 2
        assert "is leased to your own project" in taken.err
    finally:
        assert type_("lease", "delete", lease).status == 0
    assert type_("lease", "show", lease, "-f", "json").json()["state"] == "ended"
    assert type_("lease", "renew", lease, "--seconds", "1").status == 2


def test_a_lease_wants_one_end(type_: Type) -> None:
    assert type_("lease", "create", HOST).status == 2
    both = ("--seconds", "1", "--until", "2026-11-21T08:00:00Z")
    assert type_("lease", "create", HOST, *both).status == 2


def test_a_lease_of_any_hosts(type_: Type) -> None:
    done = type_("lease", "run", "--count", "1", "--zone", "lab", "--", "true")
    assert done.status == 0, done.err
    (ended,) = type_("lease", "list", "-f", "json").json()[:1]
    assert (ended["state"], ended["hosts"]) == ("ended", [HOST])


def test_keys_of_a_lease(type_: Type, tmp_path: Path) -> None:
    key = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"k" * 32).decode()
    public, private = tmp_path / "id.pub", tmp_path / "id"
    public.write_text(f"{key} me@home\n")
    private.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n")
    create = ("lease", "create", HOST, "--seconds", "600", "-f", "json")
    refused = type_(*create, "--key", str(private))
    assert refused.status == 2
    assert "is no public key" in refused.err
    assert "secret" not in refused.err
    made = type_(*create, "--key", str(public)).json()
    assert made["keys"] == [key]
    assert type_("lease", "delete", made["id"]).status == 0


def test_which_hosts_is_said_in_one_way(type_: Type) -> None:
    for words in ((), (HOST, "--count", "1"), ("--zone", "lab")):
        assert type_("lease", "create", *words, "--seconds", "1").status == 2


def test_a_program_that_has_a_lease(type_: Type) -> None:
    script = (
        'echo "$LABAPI_LEASE_HOSTS"; lab lease show "$LABAPI_LEASE" -f value -c state; sleep 1;'
        ' lab lease show "$LABAPI_LEASE" -f value -c seconds -c ends_at; exit 7'
    )
    done = subprocess.run(
        [BIN / "lab", "lease", "run", "--seconds", "30", HOST, "--", "sh", "-c", script],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[:2] == [HOST, "active"]
    assert type_("lease", "list", "--state", "active", "-f", "json").json() == []


def test_a_lease_is_renewed_while_its_program_runs(type_: Type) -> None:
    done = subprocess.run(
        [BIN / "lab", "--debug", "lease", "run", "--seconds", "2", HOST, "--", "sleep", "2.5"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("-X PUT") >= 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_command_ends_its_program(type_: Type, number: signal.Signals) -> None:
    script = "trap 'kill $!; echo ended; exit 9' TERM HUP; sleep 60 & echo begun; wait; echo never"
    lab = ["env", "--default-signal=HUP", BIN / "lab"]  # tests may run under nohup
    command = [*lab, "lease", "run", HOST, "--", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.send_signal(number)
        assert child.stdout.readline() == "ended\n"
        assert child.wait(timeout=60) == 9
    assert type_("lease", "list", "--state", "active", "-f", "json").json() == []


def test_what_ends_the_command_ends_a_lease_that_waits() -> None:
    waiting = Say(200, {"id": "1", "state": "waiting", "place": 1})
    with Scripted(waiting) as server:
        command = [BIN / "lab", "--url", server.url, "lease", "run", HOST, "--", "echo", "never"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            assert child.stderr is not None
            assert child.stderr.readline() == "waits for hosts, place 1\n"
            child.terminate()
            assert child.communicate(timeout=60) == ("", "")
            assert child.returncode == 128 + signal.SIGTERM
        asked = [(asked.method, asked.path) for asked in server.asked]
    assert (asked[0], asked[-1]) == (("POST", "/v2.1/leases"), ("DELETE", "/v2.1/leases/1"))


@pytest.mark.parametrize(
    "command", [("create", HOST, "--seconds", "60"), ("run", HOST, "--", "echo", "never")]
)
def test_ctrl_c_before_the_answer_leaves_no_lease(command: tuple[str, ...]) -> None:
    late = Say(200, b"x" * 1000, drips=1.0)
    with Scripted(late, Say(201, {"id": "1", "state": "active"}), Say(204, b"")) as server:
        lab = ["env", "--default-signal=INT", BIN / "lab", "--url", server.url, "lease", *command]
        with subprocess.Popen(
            lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            until(lambda: server.asked)
            child.send_signal(signal.SIGINT)
            said = child.communicate(timeout=60)
            assert child.returncode == 130
        first, again, end = server.asked
    assert said == (
        "",
        "looks whether the lease is there, to end it; Ctrl-C does not wait for that\n",
    )
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]
    assert (again.body, end.method, end.path) == (first.body, "DELETE", "/v2.1/leases/1")


def test_a_program_that_is_not_there(type_: Type) -> None:
    done = type_("lease", "run", HOST, "--", "/no/such/program")
    assert done.status == 2
    assert "/no/such/program" in done.err
    assert type_("lease", "list", "--state", "active", "-f", "json").json() == []


def test_a_lease_that_somebody_ends_meanwhile(type_: Type) -> None:
    script = 'lab lease delete "$LABAPI_LEASE"; exit 5'
    done = subprocess.run(
        [BIN / "lab", "lease", "run", HOST, "--", "sh", "-c", script],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 5, done.stderr
