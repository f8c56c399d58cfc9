"""``labapi-manage db purge``: taking out what is old."""

from __future__ import annotations

import argparse
import datetime
import re
import time

from labapi.case import Result, State
from labapi.cmd.manage import Operator
from labapi.db import migration, purge
from labapi.db.purge import Old, Progress, Purge
from labapi.db.session import Database
from labapi.exceptions import InvalidInput

_AGE = re.compile(r"([0-9]{1,4})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
KINDS = ("cases", "output", "leases", "hosts")
ALL = ("cases", "leases", "hosts")  # output goes with its case
PROGRESS = 1.0  # seconds between lines


class DBPurge(Operator):
    """Remove what is old: cases with their output and idempotency keys, leases, silent hosts.

    Unfinished cases are never removed, nor are leases that have not ended, nor hosts that have such
    a case or lease or are disabled. A purge may run beside all services, and may be interrupted and
    run again. [conductor] keep_cases, keep_output, keep_leases and keep_hosts have the conductors
    do the same every hour.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --older-than, --only, --state, --result, --dry-run."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--older-than",
            type=_age,
            required=True,
            metavar="AGE",
            help="time since the end of a case or lease, or the last sign of a host, for example"
            " 90d or 12h",
        )
        parser.add_argument(
            "--only",
            choices=KINDS,
            help="only cases with all they have, only output (the cases stay), only leases that"
            " have ended, or only hosts; the default is cases, leases and hosts",
        )
        parser.add_argument(
            "--state",
            choices=[str(state) for state in State],
            default=str(State.FINISHED),
            help="state of the cases; only finished ones can be removed",
        )
        parser.add_argument(
            "--result",
            choices=[str(result) for result in Result],
            help="only cases with this result",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove it, with progress on standard error."""
        if parsed_args.state != State.FINISHED:
            raise InvalidInput(f"a case that is {parsed_args.state} is not finished: it stays")
        if parsed_args.result is not None and parsed_args.only in ("leases", "hosts"):
            raise InvalidInput(f"{parsed_args.only} have no result; leave out --result")
        database = Database(self.conf)
        migration.require_current(database)
        before = datetime.datetime.now(datetime.UTC) - parsed_args.older_than
        old = Old(before, parsed_args.result)
        kinds = (parsed_args.only,) if parsed_args.only else ALL
        if parsed_args.only is None and parsed_args.result is not None:
            kinds = ("cases",)
        for kind in kinds:
            work = self._counted if parsed_args.dry_run else self._removed
            self.app.stdout.write(f"{work(database, kind, old)}\n")

    def _counted(self, database: Database, kind: str, old: Old) -> str:
        if kind == "hosts":
            return f"{len(database.read(purge.silent_hosts, old.before))} hosts would be removed"
        if kind == "leases":
            return f"{len(database.read(purge.old_leases, old.before))} leases would be removed"
        count = purge.old_cases(database, old, with_output=kind == "output")
        what = "cases would lose their output" if kind == "output" else "cases would be removed"
        return f"{count} {what}"

    def _removed(self, database: Database, kind: str, old: Old) -> str:
        if kind == "hosts":
            return f"{purge.hosts(database, old.before)} hosts removed"
        if kind == "leases":
            return f"{Purge(database).leases(old.before)} leases removed"
        what = "pieces of output" if kind == "output" else "cases"
        purged = Purge(database, _Teller(self, what))
        count = purged.output(old) if kind == "output" else purged.cases(old)
        longest = purged.progress.longest * 1000
        return f"{count} {what} removed; the longest transaction took {longest:.0f} ms"


class _Teller:
    """Writes lines of progress."""

    def __init__(self, command: DBPurge, what: str) -> None:
        self._write = command.app.stderr.write
        self._flush = command.app.stderr.flush
        self._what = what
        self._told = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Write a line unless there was one just now."""
        if time.monotonic() - self._told >= PROGRESS:
            self._told = time.monotonic()
            self._write(f"{progress.removed} {self._what} removed, {progress.share:.0%} seen\n")
            self._flush()


def _age(text: str) -> datetime.timedelta:
    found = _AGE.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 90d, 12h or 30m")
    return datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})
