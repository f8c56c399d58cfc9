"""``labapi-manage agent …``: which machines may take part in the lab."""

from __future__ import annotations

import argparse
import datetime
import secrets
from pathlib import Path

from labapi.case import Reason
from labapi.cmd.manage import Operator
from labapi.cmd.new_agent import NewAgent
from labapi.conductor import events
from labapi.db import handover, migration, removal
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable, ConfigError, NotFound
from labapi.rpc import broker_user
from labapi.rpc.publisher import Publisher
from labapi.rpc.transport import BROKER_ERRORS, HOST_NAME, Transport

PASSWORD = 24  # random bytes


class _OfHost(Operator):
    """A command about one host."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument HOST."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("host", type=_host, help="name of the host, as [agent] host says there")
        return parser


class _OfUser(_OfHost):
    """A command about the RabbitMQ user of one host."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with HOST and the options --apply and --print."""
        parser = super().get_parser(prog_name)
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--apply", action="store_true", help="call rabbitmqctl, which must be on this machine"
        )
        how.add_argument(
            "--print",
            action="store_false",
            dest="apply",
            help="print the calls to make on the machine of the broker (default)",
        )
        return parser

    def perform(self, steps: list[broker_user.Step], *, apply: bool) -> None:
        """Run the steps or print them."""
        if not apply:
            self.app.stdout.write("Run on the machine of the message broker:\n\n")
        for step in steps:
            if apply:
                step.run()
            else:
                self.app.stdout.write(f"    {step}\n")


class AgentAdd(_OfUser):
    """Make the queues of a host, and a RabbitMQ user that can use nothing else.

    With --folder nothing has to be copied from a terminal: labapi.conf, the conductors' public key
    and the certificates of [messaging] ca_file are for /etc/labapi of the host, and rabbitmqctl.sh
    is for the machine of the broker. Both it and labapi.conf hold the user's password.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --vhost, --again and --folder as well."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--vhost", help="default: that of [messaging] transport_url")
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--again",
            action="store_true",
            help="the user exists: give it the rights of this release; it keeps its password",
        )
        where.add_argument(
            "--folder", type=Path, help="new folder for files with what is printed otherwise"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Make them; print the lines for the host's configuration."""
        transport = Transport(self.conf)
        transport.require_broker()
        host, folder = parsed_args.host, parsed_args.folder
        vhost = parsed_args.vhost or broker_user.vhost_of(transport.url)
        password = secrets.token_urlsafe(PASSWORD)
        if folder is not None and folder.exists():
            raise ConfigError(f"{folder} exists; nothing is done")
        try:
            with transport.connect(heartbeat=False, vhost=vhost) as connection:
                transport.declare(connection)
                broker_user.declare_queues(transport, connection, host)
        except BROKER_ERRORS as error:
            why = transport.said(error)
            raise BrokerUnavailable(f"the queues cannot be made: {why}") from error
        if parsed_args.again:
            self.perform(broker_user.rights(host, vhost), apply=parsed_args.apply)
            return
        steps = broker_user.creation(host, vhost, password)
        url = broker_user.url_for(transport.url, host, vhost, password)
        agent = NewAgent.of(self.conf, host, url)
        if folder is None or parsed_args.apply:
            self.perform(steps, apply=parsed_args.apply)
        if folder is None:
            self.app.stdout.write(f"{agent}")
            return
        written = agent.write(folder, [] if parsed_args.apply else steps)
        self.app.stdout.write(f"{folder}: {', '.join(written)}\n")


class AgentRemove(_OfUser):
    """Remove a host: its RabbitMQ user, its queues with their messages, and its place on the list.

    Without --apply this is a preview, and nothing changes. The host's old cases keep its name.
    Those that wait for it end as ERROR/host_removed, those that it has as ERROR/agent_lost.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --user-removed as well."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--user-removed",
            action="store_true",
            help="with --apply: the calls of rabbitmqctl were made on the machine of the broker",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove what is at the broker first: then nothing brings the host back on the list."""
        database = Database(self.conf)
        migration.require_current(database)
        transport = Transport(self.conf)
        transport.require_broker()
        host = parsed_args.host
        if not parsed_args.apply:
            self._preview(host, database.read(removal.prospect, host))
            return
        if not parsed_args.user_removed:
            self.perform(broker_user.removal(host), apply=True)
        try:
            with transport.connect(heartbeat=False) as connection:
                broker_user.delete_queues(connection, host)
        except BROKER_ERRORS as error:
            why = transport.said(error)
            raise BrokerUnavailable(f"the queues cannot be deleted: {why}") from error
        removed = removal.remove(database, host, datetime.datetime.now(datetime.UTC))
        publisher = Publisher(transport)
        events.announce(publisher, events.of_ended([*removed.waiting, *removed.active]))
        publisher.close()
        if removed.waiting or removed.active:
            self.app.stdout.write(
                f"cases that ended as ERROR/{Reason.HOST_REMOVED}: {len(removed.waiting)},"
                f" as ERROR/{Reason.AGENT_LOST}: {len(removed.active)}\n"
            )
        said = "is off the list of hosts" if removed.listed else "was not on the list of hosts"
        self.app.stdout.write(f"{host} {said}\n")

    def _preview(self, host: str, found: removal.Prospect) -> None:
        listed = "goes off the list of hosts" if found.listed else "is not on the list of hosts"
        self.app.stdout.write(
            f"Nothing has been changed. With --apply:\n\n"
            f"    {host} {listed}\n"
            f"    {found.waiting} cases that wait for it end as ERROR/{Reason.HOST_REMOVED}\n"
            f"    {found.active} cases that it has end as ERROR/{Reason.AGENT_LOST}\n"
            f"    its queues are deleted with the messages in them, and these calls are made:\n\n"
        )
        for step in broker_user.removal(host):
            self.app.stdout.write(f"    {step}\n")
        self.app.stdout.write(
            "\nWhere there is no rabbitmqctl, make these calls on the machine of the message"
            " broker, and then use --apply --user-removed here.\n"
        )


class AgentAccept(_OfHost):
    """Give a host to the agent that uses its name now, for example after a new installation.

    Nobody will report the unfinished cases of the previous agent any more: they end as
    ERROR/agent_lost, or run again with rerun_on_loss.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Accept it, and settle what its predecessor leaves."""
        database = Database(self.conf)
        migration.require_current(database)
        host = parsed_args.host
        now = datetime.datetime.now(datetime.UTC)
        attempts = self.conf.conductor.max_attempts
        lost = database.write(handover.accept, host, now, max_attempts=attempts)
        if lost is None:
            raise NotFound(f"no other agent uses the name of host {host!r}")
        transport = Transport(self.conf)
        if not transport.in_process:
            publisher = Publisher(transport)
            events.announce(publisher, events.of_lost(lost))
            publisher.close()
        self.app.stdout.write(f"{host} belongs to the agent that uses its name now\n")


def _host(text: str) -> str:
    if not HOST_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name")
    return text
