"""``labapi-manage agent …``: which machines may take part in the lab."""

from __future__ import annotations

import argparse
import datetime
import secrets

from labapi.cmd.manage import Operator
from labapi.conductor import events
from labapi.db import handover, migration, purge
from labapi.db.session import Database
from labapi.exceptions import BrokerUnavailable, NotFound
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
    """Make the queues of a host, and a RabbitMQ user that can use nothing else."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --vhost and --again as well."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--vhost", help="default: that of [messaging] transport_url")
        parser.add_argument(
            "--again",
            action="store_true",
            help="the user exists: give it the rights of this release; it keeps its password",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Make them; print the line for the host's configuration."""
        transport = Transport(self.conf)
        transport.require_broker()
        host = parsed_args.host
        vhost = parsed_args.vhost or broker_user.vhost_of(transport.url)
        password = secrets.token_urlsafe(PASSWORD)
        try:
            with transport.connect(heartbeat=False, vhost=vhost) as connection:
                transport.declare(connection)
                broker_user.declare_queues(connection, host)
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the queues cannot be made: {error}") from error
        if parsed_args.again:
            self.perform(broker_user.rights(host, vhost), apply=parsed_args.apply)
            return
        self.perform(broker_user.creation(host, vhost, password), apply=parsed_args.apply)
        url = broker_user.url_for(transport.url, host, vhost, password)
        self.app.stdout.write(
            f"\nlabapi.conf of {host}; keep the file to the agent's user:\n"
            f"    [messaging]\n    transport_url = {url}\n"
            f"    [agent]\n    host = {host}\n"
        )


class AgentRemove(_OfUser):
    """Take a host off the list, and remove its RabbitMQ user and its queues with their messages.

    Its old cases keep its name; those that it has not finished end as ERROR.
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove what is at the broker first: then nothing brings the host back on the list."""
        database = Database(self.conf)
        migration.require_current(database)
        transport = Transport(self.conf)
        transport.require_broker()
        self.perform(broker_user.removal(parsed_args.host), apply=parsed_args.apply)
        try:
            with transport.connect(heartbeat=False) as connection:
                broker_user.delete_queues(connection, parsed_args.host)
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the queues cannot be deleted: {error}") from error
        removed = database.write(purge.delete_host, parsed_args.host)
        said = "is off the list of hosts" if removed else "was not on the list of hosts"
        self.app.stdout.write(f"{parsed_args.host} {said}\n")


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
