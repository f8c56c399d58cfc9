"""What the RabbitMQ user of one agent can do on a real broker, and what it cannot."""

from __future__ import annotations

import datetime
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import amqp
import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from labapi import config as labapi_config
from labapi.case import State
from labapi.db import services, testcases
from labapi.db.session import Database
from tests.lab import MariaDB, RabbitMQ, rabbitmqctl, until
from tests.programs import Program, run

# The dots would match anything if they were not escaped.
HOST = f"lab.{uuid.uuid4().hex[:8]}.example"
LOOKALIKE = HOST.replace(".", "x")
OTHER = "lab-other"


def named(parameter: str) -> str:
    """Name a test; several processes that run these must agree on it."""
    return repr(parameter).replace(HOST, "HOST").replace(LOOKALIKE, "LOOKALIKE")


REFUSED = (amqp.exceptions.AccessRefused, amqp.exceptions.NotFound)


class Lab(NamedTuple):
    config: Path
    url: str  # of the agent's user
    broker: RabbitMQ


def manage(config: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run("labapi-manage", "--config-file", str(config), *args)


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB, rabbitmq: RabbitMQ
) -> Iterator[Lab]:
    config = tmp_path_factory.mktemp("users") / "labapi.conf"
    config.write_text(
        f"[DEFAULT]\nstate_path = {config.parent}/state\n"
        f"[database]\nconnection = {mariadb.url}\n"
        f"[messaging]\ntransport_url = {rabbitmq.url}\n"
        f"[conductor]\nsweep_interval = 0.3\nsigning_key = {config.parent}/key\n"
    )
    assert manage(config, "db", "upgrade").returncode == 0
    assert manage(config, "key", "create", str(config.parent / "key")).returncode == 0
    for host in (OTHER, LOOKALIKE):
        assert manage(config, "agent", "add", host).returncode == 0
    added = manage(config, "agent", "add", HOST, "--apply")
    assert added.returncode == 0, added.stderr
    public = (config.parent / "key.pub").read_text().strip()
    assert added.stdout.endswith(
        "    trusted_keys = /etc/labapi/key.pub\n\n"
        f"/etc/labapi/key.pub there, one line:\n    {public}\n"
    )
    found = re.search(r"transport_url = (\S+)", added.stdout)
    assert found is not None
    yield Lab(config, found[1], rabbitmq)
    if f"labapi-agent-{HOST}" in rabbitmqctl("list_users"):
        rabbitmqctl("delete_user", f"labapi-agent-{HOST}")


@pytest.fixture
def channel(lab: Lab) -> Iterator[amqp.Channel]:
    """Return a channel of the agent's user that waits for confirms."""
    connection = Connection(lab.url, connect_timeout=60)
    opened = connection.channel()
    opened.confirm_select()
    yield opened
    connection.release()


def publish(channel: amqp.Channel, key: str, exchange: str = "labapi.reports") -> None:
    message = amqp.Message(b"{}", content_type="application/json")
    channel.basic_publish_confirm(message, exchange, key, mandatory=True, confirm_timeout=60)


@pytest.mark.parametrize("kind", ["result", "output", "heartbeat"])
def test_it_reports_for_its_own_host(channel: amqp.Channel, kind: str) -> None:
    publish(channel, f"{kind}.{HOST}")


@pytest.mark.parametrize(
    "key",
    [
        *(f"{kind}.{OTHER}" for kind in ("result", "output", "heartbeat", "agent", "control")),
        *(f"{kind}.{LOOKALIKE}" for kind in ("result", "output", "heartbeat")),
        *(f"agent.{HOST}", f"control.{HOST}", "conductor"),
        *(f"result.{HOST}.more", f"more.result.{HOST}", f"result.{HOST}\n", "result.", "#"),
    ],
    ids=named,
)
def test_it_writes_under_no_other_key(channel: amqp.Channel, key: str) -> None:
    with pytest.raises(REFUSED):
        publish(channel, key)


@pytest.mark.parametrize("exchange", ["", "labapi", "labapi.events", "amq.topic", "amq.direct"])
def test_it_writes_to_no_other_exchange(channel: amqp.Channel, exchange: str) -> None:
    with pytest.raises(REFUSED):
        publish(channel, f"result.{HOST}", exchange)


@pytest.mark.parametrize("kind", ["agent", "control"])
def test_it_reads_its_own_queues(channel: amqp.Channel, kind: str) -> None:
    channel.basic_get(f"labapi.{kind}.{HOST}")


@pytest.mark.parametrize(
    "queue",
    [
        *(f"labapi.{kind}.{host}" for kind in ("agent", "control") for host in (OTHER, LOOKALIKE)),
        *("labapi.report", "labapi.heartbeat", "labapi.conductor"),
    ],
    ids=named,
)
def test_it_reads_no_other_queue(channel: amqp.Channel, queue: str) -> None:
    with pytest.raises(REFUSED):
        channel.basic_get(queue)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda c: c.queue_declare("labapi.agent.new"),
        lambda c: c.queue_declare(f"labapi.agent.{HOST}", durable=True, auto_delete=False),
        lambda c: c.queue_declare(""),
        lambda c: c.exchange_declare("labapi.new", "topic"),
        lambda c: c.queue_bind(f"labapi.agent.{HOST}", "labapi", "#"),
        lambda c: c.queue_bind(f"labapi.agent.{HOST}", "labapi.events", "#"),
        lambda c: c.queue_unbind(f"labapi.agent.{OTHER}", "labapi", f"agent.{OTHER}"),
        lambda c: c.queue_purge(f"labapi.agent.{OTHER}"),
        lambda c: c.queue_delete(f"labapi.agent.{OTHER}"),
        lambda c: c.queue_delete(f"labapi.agent.{HOST}"),
        lambda c: c.exchange_delete("labapi"),
    ],
)
def test_it_declares_binds_and_deletes_nothing(channel: amqp.Channel, attempt) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(REFUSED):
        attempt(channel)


def test_an_agent_works_with_it(lab: Lab, database: Database, tmp_path: Path) -> None:
    config = tmp_path / "labapi.conf"
    config.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}/state\n[messaging]\ntransport_url = {lab.url}\n"
        f"[agent]\nhost = {HOST}\naddress = 192.0.2.77\nheartbeat_interval = 0.5\n"
        f"trusted_keys = {lab.config.parent}/key.pub\n"
    )
    conductor = Program("labapi-conductor", "--config-file", str(lab.config), log=tmp_path / "c")
    agent = Program("labapi-agent", "--config-file", str(config), log=tmp_path / "a")
    try:
        until(lambda: database.read(services.every, host=HOST))
        case = database.write(testcases.create, _case())
        until(lambda: database.read(testcases.get, case).state == "finished")
        assert database.read(testcases.get, case).result == "PASS"
    finally:
        assert agent.stop() == 0
        assert conductor.stop() == 0
    assert "Traceback" not in agent.output() + conductor.output()
    assert "refused" not in agent.output()


def test_a_password_shows_nowhere_but_in_the_answer(lab: Lab) -> None:
    printed = manage(lab.config, "agent", "add", OTHER).stdout
    line = next(line for line in printed.splitlines() if "add_user" in line)
    assert re.fullmatch(
        rf"    printf '%s\\n' [\w-]{{32}} \| rabbitmqctl add_user labapi-agent-{OTHER}", line
    )


def test_printed_commands_do_what_applied_ones_do(lab: Lab) -> None:
    host = f"lab.{uuid.uuid4().hex[:8]}"
    printed = manage(lab.config, "agent", "add", host).stdout
    commands = [line for line in printed.splitlines() if "rabbitmqctl" in line]
    subprocess.run(["sh", "-e"], input="\n".join(commands), text=True, check=True, timeout=120)
    found = re.search(r"transport_url = (\S+)", printed)
    assert found is not None
    with Connection(found[1], connect_timeout=60) as connection:
        connection.channel().basic_get(f"labapi.agent.{host}")
    removed = manage(lab.config, "agent", "remove", host, "--apply")
    assert removed.stdout.endswith(f"{host} was not on the list of hosts\n"), removed.stderr


def test_a_folder_has_what_is_printed_otherwise(lab: Lab, tmp_path: Path) -> None:
    host, folder = f"lab.{uuid.uuid4().hex[:8]}", tmp_path / "new"
    done = manage(lab.config, "agent", "add", host, "--folder", str(folder))
    assert done.stdout == f"{folder}: key.pub, labapi.conf, rabbitmqctl.sh\n", done.stderr
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert (folder / "key.pub").read_text() == (lab.config.parent / "key.pub").read_text()
    subprocess.run(["sh", "-eu", folder / "rabbitmqctl.sh"], check=True, timeout=120)
    conf = labapi_config.new()
    conf([], project="labapi", default_config_files=[str(folder / "labapi.conf")])
    assert (conf.agent.host, conf.agent.trusted_keys) == (host, ["/etc/labapi/key.pub"])
    with Connection(conf.messaging.transport_url, connect_timeout=60) as connection:
        connection.channel().basic_get(f"labapi.agent.{host}")
    again = manage(lab.config, "agent", "add", host, "--folder", str(folder))
    assert (again.returncode, again.stderr) == (1, f"{folder} exists; nothing is done\n")
    manage(lab.config, "agent", "remove", host, "--apply")


def test_a_folder_needs_no_script_when_the_user_is_made(lab: Lab, tmp_path: Path) -> None:
    host, folder = f"lab.{uuid.uuid4().hex[:8]}", tmp_path / "new"
    done = manage(lab.config, "agent", "add", host, "--apply", "--folder", str(folder))
    assert done.stdout == f"{folder}: key.pub, labapi.conf\n", done.stderr
    manage(lab.config, "agent", "remove", host, "--apply")


def test_adding_twice_says_so(lab: Lab) -> None:
    again = manage(lab.config, "agent", "add", HOST, "--apply")
    assert again.returncode == 1
    assert re.search(rf"add_user: .*labapi-agent-{HOST}.* already exists", again.stderr)


def test_an_older_user_gets_the_rights_of_this_release(lab: Lab) -> None:
    user = f"labapi-agent-{HOST}"
    rabbitmqctl("set_permissions", "-p", lab.broker.name, user, "^$", "^labapi$", "^$")
    with Connection(lab.url, connect_timeout=60) as connection, pytest.raises(REFUSED):
        connection.channel().basic_get(f"labapi.agent.{HOST}")
    done = manage(lab.config, "agent", "add", HOST, "--again", "--apply")
    assert (done.returncode, done.stdout) == (0, "")
    with Connection(lab.url, connect_timeout=60) as connection:
        connection.channel().basic_get(f"labapi.agent.{HOST}")
        with connection.channel() as channel:
            channel.confirm_select()
            publish(channel, f"result.{HOST}")
        channel = connection.channel()
        channel.confirm_select()
        with pytest.raises(REFUSED):
            publish(channel, f"result.{HOST}", "labapi")


@pytest.mark.parametrize("host", ["a b", "#", "*", "", "a/b", "-x", "a'b", "x" * 300])
def test_names_that_are_no_hosts(lab: Lab, host: str) -> None:
    done = manage(lab.config, "agent", "add", "--", host)
    assert done.returncode == 2
    assert "is not a host name" in done.stderr


def test_to_remove_an_agent_shows_first_what_that_comes_to(lab: Lab, database: Database) -> None:
    case = database.insert(testcases.create, _case())
    done = manage(lab.config, "agent", "remove", HOST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing has been changed. With --apply:")
    assert f"{HOST} goes off the list of hosts\n    1 cases that wait for it end" in done.stdout
    assert f"rabbitmqctl delete_user labapi-agent-{HOST}" in done.stdout
    assert database.read(testcases.get, case).state == "queued"
    assert database.read(services.every, host=HOST)
    with Connection(lab.url, connect_timeout=60) as connection:
        connection.channel().basic_get(f"labapi.agent.{HOST}")


def test_a_removed_agent_is_shut_out_at_once(lab: Lab) -> None:
    with Connection(lab.url, connect_timeout=60, heartbeat=0) as connection:
        connection.connect()
        done = manage(lab.config, "agent", "remove", HOST, "--apply")
        assert done.returncode == 0, done.stderr
        assert done.stdout == (
            "cases that ended as ERROR/host_removed: 1, as ERROR/agent_lost: 0\n"
            f"{HOST} is off the list of hosts\n"
        )
        until(lambda: not _lives(connection))
    with pytest.raises((amqp.exceptions.AMQPError, OperationalError, OSError)):
        Connection(lab.url, connect_timeout=60).connect()
    assert f"labapi.agent.{HOST}" not in rabbitmqctl("list_queues", "-p", lab.broker.name)
    for how in ((), ("--user-removed",)):  # as after an interruption
        again = manage(lab.config, "agent", "remove", HOST, "--apply", *how)
        assert again.stdout == f"{HOST} was not on the list of hosts\n", again.stderr


def _lives(connection: Connection) -> bool:
    try:
        connection.channel().close()
    except (amqp.exceptions.AMQPError, OperationalError, OSError):
        return False
    return True


@pytest.fixture(scope="module")
def database(lab: Lab) -> Iterator[Database]:
    conf = labapi_config.new()
    conf(["--config-file", str(lab.config)], project="labapi")
    opened = Database(conf)
    yield opened
    opened.close()


def _case() -> dict[str, object]:
    return {
        "uuid": str(uuid.uuid4()),
        "request_id": "req-test",
        "plugin": "linux_system",
        "method": "run_shell",
        "host": HOST,
        "parameters": {"command": "true"},
        "timeout": 60.0,
        "state": State.QUEUED,
        "created_at": datetime.datetime.now(datetime.UTC),
    }


def test_the_queues_are_in_the_virtual_host_that_is_named(lab: Lab) -> None:
    other = RabbitMQ().create()
    try:
        added = manage(lab.config, "agent", "add", "lab-there", "--vhost", other.name)
        assert added.returncode == 0, added.stderr
        queues = rabbitmqctl("list_queues", "-p", other.name, "--no-table-headers", "name")
        assert {"labapi.agent.lab-there", "labapi.control.lab-there"} <= set(queues.split())
    finally:
        other.drop()
    queues = rabbitmqctl("list_queues", "-p", lab.broker.name, "--no-table-headers", "name")
    assert "labapi.agent.lab-there" not in queues.split()


def test_a_virtual_host_that_is_not_there_gets_no_user(lab: Lab) -> None:
    added = manage(lab.config, "agent", "add", "lab-nowhere", "--vhost", "labapi-no", "--apply")
    users = rabbitmqctl("list_users")
    if "labapi-agent-lab-nowhere" in users:
        rabbitmqctl("delete_user", "labapi-agent-lab-nowhere")
    assert (added.returncode, added.stdout) == (1, "")
    assert "the queues cannot be made: " in added.stderr
    assert "labapi-agent-lab-nowhere" not in users
