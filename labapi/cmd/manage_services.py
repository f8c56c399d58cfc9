"""``labapi-manage service …``: who is alive, and who is given work."""

from __future__ import annotations

import argparse
import datetime
import time
from collections.abc import Iterable, Sequence
from typing import Any

from cliff.columns import FormattableColumn
from cliff.lister import Lister

from labapi.cmd.caller import caller
from labapi.cmd.manage import Manage, Operator
from labapi.cmd.table import plain
from labapi.db import hosts, migration, queue, services
from labapi.db.services import AGENT
from labapi.db.session import Database, Record
from labapi.exceptions import InvalidInput, NotFound, Unavailable
from labapi.rpc import signing
from labapi.servicegroup import driver

COLUMNS = ("Binary", "Host", "Zone", "Status", "State", "Updated_At")
LONG_COLUMNS = ("Clock_Skew", "Running", "Release", "Keys", "Disabled_By", "Reason")
# The least width of each column; a longer value makes it wider.
WIDTHS = (16, 36, 16, 10, 5, 10)
DRAIN_LOOK = 1.0  # seconds between looks while a drain is waited for


class State(FormattableColumn[Any]):
    """Up or down, with a face for people."""

    def human_readable(self) -> str:
        """Return the face."""
        return ":-)" if self._value else "XXX"

    def machine_readable(self) -> str:
        """Return the word that the API uses."""
        return "up" if self._value else "down"


class Moment(FormattableColumn[Any]):
    """A point in time, in UTC."""

    def human_readable(self) -> str:
        """Return date and time to the second."""
        return self._value.strftime("%Y-%m-%d %H:%M:%S") if self._value else "never"

    def machine_readable(self) -> str | None:
        """Return what the API shows."""
        return self._value.isoformat().replace("+00:00", "Z") if self._value else None


class ServiceList(Operator, Lister):
    """List the programs of the lab and whether they are up; times are UTC."""

    app: Manage

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --host, --service and --long."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--host", help="only services on this host")
        parser.add_argument("--service", help="only this program, for example labapi-agent")
        parser.add_argument(
            "--long",
            action="store_true",
            help="also the clock's skew in seconds, cases given to the host, release, the keys that"
            " a conductor signs with or an agent trusts, who disabled it, and the reason or what"
            " to do",
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[tuple[Any, ...]]]:
        """Ask the database."""
        database = _database(self.app)
        rows = database.read(services.every, binary=parsed_args.service, host=parsed_args.host)
        now = datetime.datetime.now(datetime.UTC)
        liveness = driver.load(self.app.conf)
        columns: tuple[str, ...] = COLUMNS
        shown = [_line(row, now, liveness) for row in rows]
        if parsed_args.long:
            columns += LONG_COLUMNS
            load = database.read(queue.load, [row.host for row in rows])
            doubts = _Doubts(database, now, liveness.down_time)
            shown = [
                (*line, *_long(row, load, doubts)) for line, row in zip(shown, rows, strict=True)
            ]
        return columns, shown

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """Print; the table is one of plain columns, as nova-manage prints it."""
        if parsed_args.formatter != self.formatter_default or parsed_args.columns:
            return int(super().produce_output(parsed_args, column_names, data) or 0)
        lines = [tuple(column_names), *(tuple(map(_text, line)) for line in data)]
        least = WIDTHS + (0,) * (len(column_names) - len(WIDTHS))
        widths = [
            max(w, *map(len, cells))
            for w, cells in zip(least, zip(*lines, strict=True), strict=True)
        ]
        for line in lines:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            self.app.stdout.write(" ".join(padded).rstrip() + "\n")
        return 0


class _Switch(Operator):
    """A command that changes whether a host is given work."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments HOST and SERVICE."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("host", help="name of the host")
        parser.add_argument("service", nargs="?", default=AGENT, help=f"default: {AGENT}")
        return parser

    def switch(self, args: argparse.Namespace, *, disabled: bool, reason: str | None) -> Database:
        """Write the change down; return the database."""
        if args.service != AGENT:
            raise InvalidInput(f"{args.service} is given no work; only {AGENT} can be disabled")
        database = _database(self.app)
        if not database.write(
            services.switch,
            args.service,
            args.host,
            disabled=disabled,
            reason=reason,
            by=caller(),
        ):
            raise NotFound(
                f"there is no service {args.service} on host {args.host!r};"
                " labapi-manage service list shows what there is"
            )
        self.app.stdout.write(
            f"{args.service} on {args.host} is {'disabled' if disabled else 'enabled'}\n"
        )
        return database


class ServiceEnable(_Switch):
    """Give a host work again."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Enable it; conductors find what waits for it when they sweep."""
        self.switch(parsed_args, disabled=False, reason=None)


class ServiceDisable(_Switch):
    """Give a host no new work; it finishes what it was given."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --reason as well."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--reason", type=_reason, help="why; service list --long shows it")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Disable it."""
        self.switch(parsed_args, disabled=True, reason=parsed_args.reason)


class ServiceDrain(ServiceDisable):
    """Disable a host and wait until it has finished what it was given.

    The exit status is 0 if nothing runs there any more, and 1 if something still does after --wait
    seconds. The host stays disabled. With --restart-safe its agent has to say so itself.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --wait and --restart-safe as well."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--wait", type=_seconds, default=600.0, metavar="SECONDS", help="default: 600"
        )
        parser.add_argument(
            "--restart-safe",
            action="store_true",
            help="also wait until the agent itself tells that it has nothing in hand",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Disable it, then count until there is nothing left to count."""
        database = self.switch(parsed_args, disabled=True, reason=parsed_args.reason)
        until = time.monotonic() + parsed_args.wait
        told = None
        while left := database.read(queue.load, [parsed_args.host]).get(parsed_args.host, 0):
            if left != told:
                self.app.stdout.write(f"{left} cases to finish\n")
                self.app.stdout.flush()
                told = left
            if time.monotonic() + DRAIN_LOOK > until:
                raise Unavailable(
                    f"{left} cases are not finished after {parsed_args.wait:g} s;"
                    f" {parsed_args.host} stays disabled"
                )
            time.sleep(DRAIN_LOOK)
        if parsed_args.restart_safe:
            self._wait_for_agent(database, parsed_args.host, until)
        self.app.stdout.write(f"{parsed_args.host} has nothing to do any more\n")
        if parsed_args.restart_safe:
            self.app.stdout.write(
                f"it is safe to restart {AGENT} there; then:"
                f" labapi-manage service enable {parsed_args.host}\n"
            )

    def _wait_for_agent(self, database: Database, host: str, until: float) -> None:
        """Wait for a heartbeat from after the end of the last case that tells of none in hand.

        :raises Unavailable: none comes in time
        """
        liveness = driver.load(self.conf)
        ended: datetime.datetime | None = None
        while True:
            (row,) = database.read(services.every, binary=AGENT, host=host)
            now = datetime.datetime.now(datetime.UTC)
            if database.read(queue.load, [host]):
                ended = None  # it was given while the host was being disabled
            elif not liveness.is_up(row, now):
                return
            elif ended is None:
                ended = row.last_seen_at
            elif row.last_seen_at > ended and not _in_hand(row):
                return
            if time.monotonic() + DRAIN_LOOK > until:
                raise Unavailable(
                    f"{AGENT} on {host} has not said that it has nothing in hand;"
                    f" {host} stays disabled"
                )
            time.sleep(DRAIN_LOOK)


def _in_hand(service: Record) -> int:
    """Return how many attempts an agent says that it has."""
    facts = service.facts or {}
    told = (facts.get("running"), facts.get("waiting"))
    return sum(count for count in told if isinstance(count, int))


def _database(app: Manage) -> Database:
    database = Database(app.conf)
    migration.require_current(database)
    return database


def _line(row: Record, now: datetime.datetime, liveness: driver.Liveness) -> tuple[Any, ...]:
    return (
        plain(row.binary),
        plain(row.host),
        plain(row.zone),
        "disabled" if row.disabled else "enabled",
        State(driver.is_up(liveness, row, now, agent=row.binary == AGENT)),
        Moment(row.last_seen_at),
    )


class _Doubts:
    """What keeps hosts from being given cases although nobody has disabled them."""

    def __init__(self, database: Database, now: datetime.datetime, down_time: float) -> None:
        self._disputed = database.read(hosts.disputed)
        self._signing = database.read(services.signing_keys, now, down_time)
        self.trusted = database.read(hosts.trusted_keys)

    def of(self, host: str) -> str | None:
        """Return what is to be done about a host."""
        if host in self._disputed:
            return f"another agent uses this name: labapi-manage agent accept {host}"
        trusted = self.trusted.get(host)
        unknown = [k or "none" for k in self._signing if not signing.trusts(trusted, k)]
        if unknown:
            return f"it does not trust the key of a conductor: {', '.join(sorted(unknown))}"
        return None


def _long(row: Record, load: dict[str, int], doubts: _Doubts) -> tuple[Any, ...]:
    facts = row.facts or {}
    running, reason, keys = None, row.disabled_reason, facts.get(services.SIGNING_KEY)
    if row.binary == AGENT:
        running = load.get(row.host, 0)
        keys = " ".join(doubts.trusted.get(row.host, [])) or None
        reason = doubts.of(row.host) or reason
    release, by = _plain(facts.get("release")), _plain(row.disabled_by)
    return facts.get("clock_skew"), running, release, _plain(keys), by, _plain(reason)


def _text(value: Any) -> str:
    if isinstance(value, FormattableColumn):
        value = value.human_readable()
    return "-" if value is None else str(value)


def _plain(value: Any) -> str | None:
    return None if value is None else plain(str(value))


def _reason(text: str) -> str:
    if not 0 < len(text) <= 255:
        raise argparse.ArgumentTypeError("expected 1 to 255 characters")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
