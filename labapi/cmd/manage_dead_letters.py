"""``labapi-manage dead-letter …``: messages that API and conductors have dropped."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.lister import Lister
from kombu import Connection

from labapi.cmd.manage import Manage, Operator
from labapi.cmd.table import plain
from labapi.exceptions import BrokerUnavailable
from labapi.rpc import dead_letters
from labapi.rpc.dead_letters import DeadLetter
from labapi.rpc.transport import BROKER_ERRORS, Transport

COLUMNS = ("Dropped_At", "By", "Routing_Key", "Size", "Cause")
SHOWN_BYTES = 200  # of a body, with --long


class DeadLetterList(Lister):
    """List the messages that were dropped, oldest first: the last 1,000; times are UTC."""

    app: Manage

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --long."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help="also the beginning of the body")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[tuple[Any, ...]]]:
        """Look into the queue; what is there stays there."""
        try:
            with _connect(self.app) as connection:
                letters = list(dead_letters.read(connection))
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the dead letters cannot be read: {error}") from error
        if not parsed_args.long:
            return COLUMNS, [_line(letter) for letter in letters]
        return (*COLUMNS, "Body"), [
            (*_line(letter), repr(letter.body[:SHOWN_BYTES])) for letter in letters
        ]


class DeadLetterPurge(Operator):
    """Delete the messages that were dropped."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Delete them, and say how many there were."""
        try:
            with _connect(self.app) as connection:
                number = dead_letters.purge(connection)
        except BROKER_ERRORS as error:
            raise BrokerUnavailable(f"the dead letters cannot be deleted: {error}") from error
        self.app.stdout.write(f"{number} dead letters deleted\n")


def _connect(app: Manage) -> Connection:
    transport = Transport(app.conf)
    transport.require_broker()
    connection = transport.connect(heartbeat=False)
    transport.declare(connection)
    return connection


def _line(letter: DeadLetter) -> tuple[Any, ...]:
    dropped = datetime.datetime.fromtimestamp(letter.dropped, datetime.UTC)
    return (
        dropped.strftime("%Y-%m-%d %H:%M:%S"),
        plain(letter.consumer),
        plain(letter.routing_key),
        letter.size,
        plain(letter.cause),
    )
