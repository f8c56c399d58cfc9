"""``lab service …``: the programs of the lab, and which hosts are given work."""

from __future__ import annotations

import argparse
import time
from typing import Any

from labapi_client.cli import words
from labapi_client.cli.arguments import seconds
from labapi_client.cli.command import LabCommand, LabLister, Rows, UsageError

AGENT = "labapi-agent"
COLUMNS = ("id", "binary", "host", "zone", "status", "state", "updated_at")
LONG_COLUMNS = ("clock_skew", "disabled_by", "disabled_reason")
DRAIN_LOOK = 1.0  # seconds between looks while a drain is waited for
STILL_BUSY = 1


class ServiceList(LabLister):
    """List the programs of the lab and whether they are up; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --host, --service and --long."""
        parser = super().get_parser(prog_name)
        host = parser.add_argument("--host", metavar="HOST", help="only programs on this host")
        words.complete(host, words.hosts)
        parser.add_argument("--service", metavar="NAME", help=f"only this program: {AGENT}")
        parser.add_argument("--long", action="store_true", help=f"also {', '.join(LONG_COLUMNS)}")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab."""
        columns = COLUMNS + LONG_COLUMNS if parsed_args.long else COLUMNS
        found = self.lab.services.list(binary=parsed_args.service, host=parsed_args.host)
        return columns, self.rows(found, columns)


class _Switch(LabCommand):
    """A command that says whether a host is given work."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument HOST."""
        parser = super().get_parser(prog_name)
        found = parser.add_argument("host", metavar="HOST", help="the name of the host")
        words.complete(found, words.hosts)
        return parser

    def agent(self, host: str) -> Any:
        """Return the agent of a host.

        :raises UsageError: there is none
        """
        for service in self.lab.services.list(binary=AGENT, host=host):
            return service
        raise UsageError(f"there is no agent on a host {host!r}; 'lab service list' lists them")


class ServiceEnable(_Switch):
    """Give a host work again; for administrators."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Tell the lab."""
        self.lab.services.enable(self.agent(parsed_args.host).id)
        self.say(f"{parsed_args.host} is given work again")


class ServiceDisable(_Switch):
    """Give a host no new work; it finishes what it was given; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --reason as well."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--reason", metavar="TEXT", help="why, for others to read")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        self.lab.services.disable(self.agent(parsed_args.host).id, reason=parsed_args.reason)
        self.say(f"{parsed_args.host} is given no new work")
        return 0


class ServiceDrain(ServiceDisable):
    """Disable a host and wait until it has finished what it was given; for administrators.

    The exit status is 0 if nothing runs there any more, and 1 if something still does after --wait
    seconds. The host stays disabled.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --wait as well."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--wait", type=seconds, default=600.0, metavar="SECONDS", help="at most (600)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Disable it, then count until there is nothing left to count."""
        super().take_action(parsed_args)
        until = time.monotonic() + parsed_args.wait
        told = None
        while left := self._left(parsed_args.host):
            if left != told:
                self.say(f"{left} {'case' if left == 1 else 'cases'} to finish")
                told = left
            if time.monotonic() + DRAIN_LOOK > until:
                self.say(
                    f"{left} not finished after {parsed_args.wait:g} s; {parsed_args.host} stays"
                    " disabled"
                )
                return STILL_BUSY
            time.sleep(DRAIN_LOOK)
        self.say(f"{parsed_args.host} has nothing to do any more")
        return 0

    def _left(self, host: str) -> int:
        cases = self.lab.testcases
        return sum(
            1 for state in ("running", "cancelling") for _ in cases.list(state=state, host=host)
        )
