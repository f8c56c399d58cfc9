"""A lab of separate programs in an operator's hands: no case is lost by what has to be done."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ROOT, Gate, MariaDB, RabbitMQ
from tests.processes import until
from tests.programs import Program, curl, free_port, run

HOSTS = ("lab-a", "lab-b")


class Machines:
    """A machine with API and conductor, and two lab machines.

    :param folder: where each has a folder of its own
    """

    def __init__(self, folder: Path, database: str, broker: str) -> None:
        self.folder = folder
        self.key("one")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/v2.1"
        self.brain = self.write(
            "brain",
            f"[api]\nport = {port}\nworkers = 1\nmachine = brain\n"
            f"paste_config = {ROOT}/etc/api-paste.ini\n"
            f"[database]\nconnection = {database}\n[messaging]\ntransport_url = {broker}\n"
            "[conductor]\nhost = brain\nsweep_interval = 0.3\nsigning_key = KEYS/one\n",
        )
        self.agents = {
            host: self.write(
                host,
                f"[messaging]\ntransport_url = {broker}\n[agent]\nhost = {host}\n"
                f"address = 192.0.2.{number}\nheartbeat_interval = 0.5\nkill_grace = 0.5\n"
                "plugins = linux_system\ntrusted_keys = KEYS/one.pub\n",
            )
            for number, host in enumerate(HOSTS, 1)
        }
        assert self.manage("db", "upgrade").returncode == 0
        self.programs = {
            "labapi-conductor": self.start("labapi-conductor", self.brain),
            "labapi-api": self.start("labapi-api", self.brain),
            **{host: self.start("labapi-agent", file) for host, file in self.agents.items()},
        }
        self.programs["labapi-api"].says("listens on")
        for host in HOSTS:
            until(lambda host=host: self.host(host))

    def write(self, name: str, text: str) -> Path:
        """Write the configuration of a machine."""
        file = self.folder / name / "labapi.conf"
        file.parent.mkdir(exist_ok=True)
        state = f"[DEFAULT]\nstate_path = {file.parent}/state\n"
        file.write_text(state + text.replace("KEYS", str(self.folder)))
        return file

    def edit(self, file: Path, before: str, after: str) -> None:
        """Change something in a configuration."""
        text = file.read_text()
        old, new = (part.replace("KEYS", str(self.folder)) for part in (before, after))
        assert old in text
        file.write_text(text.replace(old, new))

    def start(self, name: str, config: Path) -> Program:
        return Program(name, "--config-file", str(config), log=config.parent / f"{name}.log")

    def reload(self, name: str) -> None:
        self.programs[name].process.send_signal(signal.SIGHUP)

    def key(self, name: str) -> str:
        """Make a pair of keys and return its short name."""
        made = run("labapi-manage", "key", "create", str(self.folder / name))
        assert made.returncode == 0, made.stderr
        return made.stdout.split()[1]

    def manage(self, *args: str) -> Any:
        return run("labapi-manage", "--config-file", str(self.brain), *args)

    def listed(self, **wanted: str) -> dict[str, Any]:
        """Return the row of the long list of services that has these values."""
        rows = json.loads(self.manage("service", "list", "--long", "-f", "json").stdout)
        (row,) = [r for r in rows if all(r[name] == value for name, value in wanted.items())]
        return dict(row)

    def host(self, name: str) -> dict[str, Any] | None:
        """Return what the API says of a host."""
        rows = curl(f"{self.url}/slaves/detail").values()
        return next((row for row in rows if row["host"] == name), None)

    def post(self, host: str, command: str, *args: str) -> str:
        """Post a case and return its id."""
        parameters = {"command": command, "args": list(args)}
        body = {"plugin": "linux_system", "method": "run_shell", "host": host}
        document = json.dumps({**body, "parameters": parameters})
        made = curl(f"{self.url}/testcases", "-H", "Content-Type: application/json", "-d", document)
        return str(made["id"])

    def case(self, case: str) -> dict[str, Any]:
        return dict(curl(f"{self.url}/testcases/{case}"))

    def ended(self, case: str) -> dict[str, Any]:
        """Wait until a case has ended, and return it."""
        return until(lambda: (found := self.case(case))["state"] == "finished" and found)

    def health(self) -> tuple[int, str] | None:
        """Return what a load balancer is told, None if the API does not listen."""
        url = self.url.replace("/v2.1", "/healthcheck")
        done = subprocess.run(
            ["curl", "-sS", "-m", "60", "-w", "%{stderr}%{http_code}", url],
            capture_output=True,
            text=True,
            check=False,
        )
        return (int(done.stderr), done.stdout) if done.returncode == 0 else None

    def stop(self) -> None:
        for program in self.programs.values():
            program.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> Iterator[Machines]:
    machines = Machines(tmp_path_factory.mktemp("operating"), mariadb.url, rabbitmq.url)
    yield machines
    machines.stop()


def test_another_key_costs_no_case(lab: Machines) -> None:
    cases: list[str] = []
    enough = threading.Event()

    def post() -> None:
        while not enough.is_set():
            cases.append(lab.post(HOSTS[len(cases) % 2], "sleep", "0.1"))

    poster = threading.Thread(target=post)
    poster.start()
    try:
        new = lab.key("two")
        for host, file in lab.agents.items():
            lab.edit(file, "= KEYS/one.pub", "= KEYS/one.pub, KEYS/two.pub")
            lab.reload(host)
        for host in HOSTS:
            until(lambda host=host: new in lab.host(host)["trusted_keys"])
        lab.edit(lab.brain, "KEYS/one", "KEYS/two")
        lab.reload("labapi-conductor")
        until(lambda: lab.listed(Binary="labapi-conductor")["Keys"] == new)
        for host, file in lab.agents.items():
            lab.edit(file, "KEYS/one.pub, ", "")
            lab.reload(host)
        for host in HOSTS:
            until(lambda host=host: lab.host(host)["trusted_keys"] == [new])
        until(lambda: len(cases) > 20)
    finally:
        enough.set()
        poster.join(60)
    results = [lab.ended(case) for case in cases]
    assert {(case["result"], case["reason"]) for case in results} == {("PASS", None)}


def test_an_agent_that_trusts_another_key_is_shown_and_its_cases_wait(lab: Machines) -> None:
    new = lab.key("three")
    lab.edit(lab.brain, "KEYS/two", "KEYS/three")
    lab.reload("labapi-conductor")
    until(lambda: lab.listed(Binary="labapi-conductor")["Keys"] == new)
    conductor = lab.programs["labapi-conductor"]
    conductor.says(f"hosts that do not trust the key of this conductor ({new}) get no cases")
    row = lab.listed(Host="lab-a")
    assert row["Reason"] == f"it does not trust the key of a conductor: {new}"
    until(lambda: lab.host("lab-a")["trusts_conductors"] is False)
    case = lab.post("lab-a", "true")
    until(lambda: "does not trust the conductor's key" in (lab.case(case)["detail"] or ""))
    assert "its agent refused it" in lab.case(case)["detail"]  # the API gave it at once
    assert lab.case(case)["state"] == "queued"
    for host, file in lab.agents.items():
        lab.edit(file, "KEYS/two.pub", "KEYS/three.pub")
        lab.reload(host)
    assert lab.ended(case)["result"] == "PASS"
    conductor.says("hosts that trust the key of this conductor now")
    until(lambda: lab.host("lab-a")["trusts_conductors"])
    assert lab.listed(Host="lab-a")["Reason"] is None
    assert conductor.output().count("hosts that do not trust") == 1


def test_a_key_that_cannot_be_read_changes_nothing(lab: Machines) -> None:
    lab.edit(lab.brain, "KEYS/three", "KEYS/nowhere")
    lab.reload("labapi-conductor")
    lab.programs["labapi-conductor"].says("the key that signed until now still does")
    assert lab.ended(lab.post("lab-a", "true"))["result"] == "PASS"
    lab.edit(lab.brain, "KEYS/nowhere", "KEYS/three")
    lab.reload("labapi-conductor")


def test_what_runs_ends_before_its_agent_does(lab: Machines, tmp_path: Path) -> None:
    lab.edit(lab.agents["lab-b"], "[agent]\n", "[agent]\ndrain_timeout = 300\nslots = 1\n")
    assert lab.programs["lab-b"].stop() == 0
    agent = lab.programs["lab-b"] = lab.start("labapi-agent", lab.agents["lab-b"])
    gate = Gate(tmp_path / "gate")
    until(lambda: (lab.host("lab-b") or {})["slots"] == 1)
    running = lab.post("lab-b", "sh", "-c", gate.wait)
    until(lambda: lab.case(running)["started_at"])
    waiting = lab.post("lab-b", "true")
    agent.process.send_signal(signal.SIGTERM)
    until(lambda: (lab.host("lab-b") or {})["state"] == "down")
    late = lab.post("lab-b", "true")
    assert lab.case(late)["state"] == "queued"
    gate.open()
    assert lab.ended(running)["result"] == "PASS"
    assert agent.process.wait(60) == 0
    lab.programs["lab-b"] = lab.start("labapi-agent", lab.agents["lab-b"])
    assert [lab.ended(case)["result"] for case in (waiting, late)] == ["PASS", "PASS"]


def test_a_second_signal_ends_what_runs(lab: Machines) -> None:
    case = lab.post("lab-b", "sleep", "3600")
    until(lambda: lab.case(case)["started_at"])
    agent = lab.programs["lab-b"]
    agent.process.send_signal(signal.SIGTERM)
    until(lambda: (lab.host("lab-b") or {})["state"] == "down")
    agent.process.send_signal(signal.SIGTERM)
    ended = lab.ended(case)
    assert (ended["result"], ended["reason"]) == ("ERROR", "agent_stopped")
    assert agent.process.wait(60) == 0
    lab.programs["lab-b"] = lab.start("labapi-agent", lab.agents["lab-b"])


def test_a_drained_host_can_be_restarted(lab: Machines) -> None:
    case = lab.post("lab-a", "sleep", "1")
    done = lab.manage("service", "drain", "lab-a", "--restart-safe", "--wait", "120")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(
        "lab-a has nothing to do any more\nit is safe to restart labapi-agent there; then:"
        " labapi-manage service enable lab-a\n"
    )
    assert lab.case(case)["result"] == "PASS"
    assert lab.manage("service", "enable", "lab-a").returncode == 0
    process = lab.programs["lab-a"].process
    process.send_signal(signal.SIGSTOP)  # it is up, and tells nothing
    try:
        # Nor is anything on its way that it told before: others are heard who told theirs later.
        for _ in range(3):
            before = lab.host("lab-b")["last_seen"]
            until(lambda before=before: lab.host("lab-b")["last_seen"] != before)
        again = lab.manage("service", "drain", "lab-a", "--restart-safe", "--wait", "2")
    finally:
        process.send_signal(signal.SIGCONT)
    assert again.returncode == 1
    assert "has not said that it has nothing in hand; lab-a stays disabled" in again.stderr
    lab.manage("service", "enable", "lab-a")


def test_an_api_leaves_its_load_balancer_before_it_stops(lab: Machines) -> None:
    lab.edit(lab.brain, "[api]\n", "[api]\ndrain_delay = 600\n")
    assert lab.programs["labapi-api"].stop() == 0
    api = lab.programs["labapi-api"] = lab.start("labapi-api", lab.brain)
    api.until(lambda: lab.health() == (200, "api: ok\ndatabase: ok\nbroker: ok\n"))
    api.process.send_signal(signal.SIGTERM)
    until(lambda: lab.health() == (503, "api: draining\ndatabase: ok\nbroker: ok\n"))
    assert lab.host("lab-a")  # it is served all the same
    api.process.send_signal(signal.SIGTERM)
    assert api.process.wait(60) == 0
