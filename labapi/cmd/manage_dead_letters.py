"""``labapi-manage dead-letter …``: messages that API and conductors have dropped."""

from __future__ import annotations

import argparse
import contextlib
import datetime
from collections.abc import Iterable, Iterator, Sequence
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


class DeadLetterList(Operator, Lister):
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
        with _connection(self.app, "read") as connection:
            letters = list(dead_letters.read(connection))
        if not parsed_args.long:
            return COLUMNS, [_line(letter) for letter in letters]
        return (*COLUMNS, "Body"), [
            (*_line(letter), repr(letter.body[:SHOWN_BYTES])) for letter in letters
        ]


class DeadLetterPurge(Operator):
    """Delete the messages that were dropped."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Delete them, and say how many there were."""
        with _connection(self.app, "deleted") as connection:
            number = dead_letters.purge(connection)
        self.app.stdout.write(f"{number} dead letters deleted\n")


@contextlib.contextmanager
def _connection(app: Manage, done: str) -> Iterator[Connection]:
    """Lend a connection to the broker.

    :param done: what is to be done to the letters, for the error
    """
    transport = Transport(app.conf)
    transport.require_broker()
    try:
        with transport.connect(heartbeat=False) as connection:
            transport.declare(connection)
            yield connection
    except BROKER_ERRORS as error:
        why = transport.said(error)
        raise BrokerUnavailable(f"the dead letters cannot be {done}: {why}") from error


def _line(letter: DeadLetter) -> tuple[Any, ...]:
    dropped = datetime.datetime.fromtimestamp(letter.dropped, datetime.UTC)
    return (
        dropped.strftime("%Y-%m-%d %H:%M:%S"),
        plain(letter.consumer),
        plain(letter.routing_key),
        letter.size,
        plain(letter.cause),
    )
