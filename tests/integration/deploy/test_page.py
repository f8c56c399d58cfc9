"""``docs/deploy.md`` as it stands, typed on seven machines, and what follows."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.integration.deploy import page
from tests.integration.deploy.typist import NAMES, Typist
from tests.processes import until

AGENTS = ("lab-7", "lab-8", "lab-9")
FRONTS = ("lab-api", "lab-api-2")


def test_every_block_says_where_it_is_typed() -> None:
    assert {name for block in page.read() for name in block.machines} == set(NAMES)


def test_the_first_cases_run(lab: Typist) -> None:
    answers = lab.said["10. The first case"][-1]
    decoder, cases = json.JSONDecoder(), []
    while answers.strip():
        case, end = decoder.raw_decode(answers.strip())
        cases.append(case)
        answers = answers.strip()[end:]
    outputs = {case["host"]: (case["result"], case["output"]) for case in cases}
    assert outputs == {host: ("PASS", f"Linux {host}\n") for host in ("lab-7", "lab-8")}


@pytest.mark.parametrize(
    ("machine", "file", "owner"),
    [
        ("lab-7", "labapi.conf", "root 600"),
        ("lab-api", "labapi.conf", "labapi 640"),
        ("lab-api-2", "labapi.conf", "labapi 640"),
        ("lab-api-2", "conductor.key", "labapi 600"),
        ("lab-api-2", "htpasswd", "labapi 600"),
        ("lab-api-2", "api-paste.ini", "labapi 640"),
    ],
)
def test_nobody_else_reads_a_secret(lab: Typist, machine: str, file: str, owner: str) -> None:
    assert lab[machine].run(f"stat -c '%U %a' /etc/labapi/{file}") == f"{owner}\n"


@pytest.fixture(scope="module")
def joined(lab: Typist) -> None:
    """Have a third agent join."""
    lab.type("One more agent")
    lab.until_up("lab-9")


def test_another_agent_joins(lab: Typist, joined: None) -> None:
    case = lab.run_case("lab-9", "hostname", front="lab-api-2")
    assert (case["result"], case["output"]) == ("PASS", "lab-9\n")


def test_one_limit_holds_over_both_apis(lab: Typist) -> None:
    """The limit is by address, and the address is the client's and not that of nginx."""
    file = "/etc/labapi/api-paste.ini"
    # With the shipped patience, a Redis that is slow on a busy machine lets requests through.
    change = "-e 's/6000 per minute/8 per hour/' -e '/^storage = rediss/a timeout = 30'"
    for name in FRONTS:
        lab[name].run(
            f"cp -p {file} kept && sed -i {file} {change} && systemctl restart labapi-api"
        )
    try:
        got = [_status(lab, front, at="lab-8") for front in FRONTS * 6]
        assert got == ["200"] * 8 + ["429"] * 4
        assert _status(lab, "lab-api", at="lab-7") == "200"
    finally:
        for name in FRONTS:
            lab[name].run(f"cp -p kept {file} && systemctl restart labapi-api")
    assert _status(lab, "lab-api", at="lab-8") == "200"


def test_the_broker_away_for_some_seconds_costs_nothing(lab: Typist) -> None:
    running = lab.post_case("lab-7", "sh -c 'sleep 3; echo done'")
    until(lambda: lab.api(f"/testcases/{running}")["state"] == "running")
    lab["lab-mq"].run("systemctl stop rabbitmq-server")
    waiting = [lab.post_case(host, "hostname", front="lab-api-2") for host in ("lab-7", "lab-8")]
    lab["lab-mq"].run("sleep 4; systemctl start rabbitmq-server")
    for case in (running, *waiting):
        found = until(lambda case=case: _finished(lab, case))
        assert (found["result"], found["reason"]) == ("PASS", None)


def test_another_key_takes_the_place_of_the_first(lab: Typist, joined: None) -> None:
    lab.type("Another key")
    for host in AGENTS:
        assert lab.run_case(host, "hostname")["output"] == f"{host}\n"
    command = "labapi-manage service list --long -f json"

    def keys() -> set[str]:
        """Return the keys that conductors sign with and agents trust."""
        listed = json.loads(lab["lab-api"].run(command))
        return {row["Keys"] for row in listed if row["Binary"] != "labapi-api"}

    until(lambda: len(keys()) == 1)


def test_a_user_who_may_not_look_for_the_configuration_is_told(lab: Typist) -> None:
    lab["lab-api-2"].run("chgrp root /etc/labapi")
    try:
        done = lab["lab-api-2"].type("runuser -u labapi -- labapi-conductor")
    finally:
        lab["lab-api-2"].run("chgrp labapi /etc/labapi")
    said = "labapi-conductor: the user labapi may not look for labapi.conf in /etc/labapi\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_machine_that_is_installed_anew_is_accepted(lab: Typist) -> None:
    lab["lab-8"].run(
        "systemctl stop labapi-agent; rm -r /var/lib/labapi/*; systemctl start labapi-agent"
    )
    until(lambda: lab.host("lab-8")["claimed"])
    lab.type("A machine that is installed anew")
    assert lab.run_case("lab-8", "hostname")["output"] == "lab-8\n"


def test_a_host_leaves(lab: Typist, joined: None) -> None:
    lab.type("A host's end")
    assert lab.host("lab-9") is None
    users = lab["lab-mq"].run("rabbitmqctl -q list_users")
    assert "labapi-agent-lab-8" in users
    assert "labapi-agent-lab-9" not in users


def _finished(lab: Typist, case: str) -> Any:
    found = lab.api(f"/testcases/{case}")
    return found if found["state"] == "finished" else None


def _status(lab: Typist, front: str, at: str) -> str:
    done = lab.curl("/slaves", "-o /dev/null -w '%{http_code}'", front=front, at=at)
    return done.stdout


@pytest.fixture(scope="module")
def stranger(lab: Typist) -> None:
    """Make another CA on the first API's machine, and other names for the servers."""
    addresses = {f"other-{name}": lab[f"lab-{name}"].address for name in ("db", "mq", "api")}
    names = "".join(f"{address} {name}\n" for name, address in addresses.items())
    lab["lab-api"].run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN=other"
        f" -keyout other.key -out other.pem\ncat >>/etc/hosts <<'END'\n{names}END\n"
    )


# An agent goes on trying, so it is ended when it has said why.
AGENT = """\
OS_AGENT__ACCEPT_UNSIGNED=true labapi-agent --config-file wrong.conf >wrong.log 2>&1 &
for _ in $(seq 600); do grep -q 'certificate verify failed' wrong.log && break; sleep 0.1; done
kill -9 $! && cat wrong.log && false
"""
WRONG = {
    "another CA": ("s|/etc/labapi/ca.pem|/root/other.pem|", "certificate verify failed"),
    "another name": ("s|lab-{0}|other-{0}|", "Hostname mismatch|certificate is not valid for"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    ("server", "command"),
    [
        ("db", "labapi-manage --config-file wrong.conf service list"),
        ("mq", "labapi-manage --config-file wrong.conf agent add lab-10"),
        ("mq", AGENT),
    ],
    ids=["database", "broker", "agent"],
)
def test_a_server_is_refused_with(
    lab: Typist, stranger: None, wrong: str, server: str, command: str
) -> None:
    change, said = WRONG[wrong]
    lab["lab-api"].run(f"sed '{change.format(server)}' /etc/labapi/labapi.conf >wrong.conf")
    done = lab["lab-api"].type(command)
    assert done.returncode != 0
    assert re.search(said, done.stdout + done.stderr), done
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--cacert other.pem https://lab-api", "SSL certificate problem"),
        ("--cacert /etc/labapi/ca.pem https://other-api", "no alternative certificate subject"),
    ],
    ids=WRONG,
)
def test_clients_refuse_an_api_with(lab: Typist, stranger: None, option: str, said: str) -> None:
    done = lab["lab-api"].type(f"curl -sS {option}")
    assert done.returncode == 60
    assert said in done.stderr
