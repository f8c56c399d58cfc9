"""``lab lease …``: hosts that are your project's until a time."""

from __future__ import annotations

import argparse
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labapi_client.cli import words
from labapi_client.cli.arguments import add_command, count, seconds
from labapi_client.cli.child import Child, ended
from labapi_client.cli.command import Fields, LabCommand, LabLister, LabShow, Rows, UsageError
from labapi_client.exceptions import LabError

if TYPE_CHECKING:
    from labapi_client.managers.leases import Lease

COLUMNS = ("id", "state", "hosts", "ends_at", "note")
LONG_COLUMNS = ("project_id", "user_id", "place", "created_at", "starts_at", "ended_at", "ended_by")
SECONDS = 600.0  # of the lease of a program; it is renewed while the program runs
MAX_KEY = 16384  # bytes of a public key's file
LOOK = 1.0  # seconds between looks at a lease that waits


class LeaseList(LabLister):
    """List the leases of your project, newest first; of all projects for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options --state and --long."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--state", help="only those that are waiting, active or ended")
        parser.add_argument("--long", action="store_true", help=f"also {', '.join(LONG_COLUMNS)}")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab."""
        columns = COLUMNS + LONG_COLUMNS if parsed_args.long else COLUMNS
        return columns, self.rows(self.lab.leases.list(state=parsed_args.state), columns)


class LeaseShow(LabShow):
    """Show a lease, and what it waits for."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument LEASE."""
        parser = super().get_parser(prog_name)
        _add_lease(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Ask the lab."""
        return self.fields(self.lab.leases.get(parsed_args.lease))


class LeaseCreate(LabShow):
    """Lease hosts to your project: cases of other projects wait until it ends."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with hosts, an end and a note."""
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        _add_end(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Tell the lab."""
        end = {"seconds": parsed_args.seconds, "until": parsed_args.until}
        return self.fields(_create(self, **_wanted(parsed_args), **end))


class LeaseRenew(LabShow):
    """Have a lease end later, or sooner."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument LEASE and the new end."""
        parser = super().get_parser(prog_name)
        _add_lease(parser)
        _add_end(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Tell the lab."""
        until, wanted = parsed_args.until, parsed_args.seconds
        return self.fields(self.lab.leases.renew(parsed_args.lease, seconds=wanted, until=until))


class LeaseDelete(LabCommand):
    """End leases; what runs on their hosts goes on."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments LEASE."""
        parser = super().get_parser(prog_name)
        parser.add_argument("leases", nargs="+", metavar="LEASE", help="the id of a lease")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        return self.each(parsed_args.leases, self.lab.leases.delete)


class LeaseRun(LabCommand):
    """Run a program here while hosts are leased: lab lease run HOST ... -- PROGRAM [ARGUMENT ...].

    It begins when the lease does, and the lease ends with it; meanwhile the lease is renewed. The
    program finds the lease in LABAPI_LEASE and its hosts in LABAPI_LEASE_HOSTS, and its exit status
    is that of the command.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser that leaves what stands behind -- alone."""
        parser = super().get_parser(prog_name)
        _add_hosts(parser)
        parser.add_argument(
            "--seconds",
            type=seconds,
            default=SECONDS,
            metavar="SECONDS",
            help="how long the lease outlives this command if that is killed (600)",
        )
        add_command(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Lease, run, and end the lease whatever happens."""
        if not parsed_args.command:
            raise UsageError("there is no program to run; put it behind the hosts and --")
        wanted, hosts = parsed_args.seconds, _wanted(parsed_args)
        lease = None
        try:
            with Child() as child:
                lease = _create(self, **hosts, seconds=wanted)
                return self._run(child, self._begun(lease), parsed_args.command, wanted)
        finally:
            if lease is not None:
                self._end(lease)

    def _begun(self, lease: Lease) -> Lease:
        """Wait until a lease begins.

        :raises UsageError: it has ended before
        """
        told = ""
        while lease.state == "waiting":
            hosts = ", ".join(sorted({each.host for each in lease.waits_for}))
            text = f"waits for {hosts or 'hosts'}, place {lease.place}"
            if text != told:
                self.say(text)
                told = text
            time.sleep(LOOK)
            lease = self.lab.leases.get(lease.id)
        if lease.state != "active":
            raise UsageError(f"lease {lease.id} has ended before it began")
        return lease

    def _run(self, child: Child, lease: Lease, command: list[str], wanted: float) -> int:
        told = {"LABAPI_LEASE": lease.id, "LABAPI_LEASE_HOSTS": " ".join(lease.hosts)}
        program = child.start(command, told)
        while (status := ended(program, wanted / 2)) is None:
            self._renew(lease, wanted)
        return status

    def _renew(self, lease: Lease, wanted: float) -> None:
        try:
            self.lab.leases.renew(lease.id, seconds=wanted)
        except LabError as error:
            self.say(f"the lease is not renewed: {error}")

    def _end(self, lease: Lease) -> None:
        try:
            self.lab.leases.delete(lease.id)
        except LabError as error:  # what came of the program counts
            self.say(f"lease {lease.id} is not ended: {error}")


def _create(command: LabCommand, **wanted: Any) -> Lease:
    """Make a lease; whoever stops this in the middle has none afterwards."""
    leases, key = command.lab.leases, uuid.uuid4().hex
    try:
        return leases.create(**wanted, idempotency_key=key)
    except (KeyboardInterrupt, SystemExit):
        command.say("looks whether the lease is there, to end it; Ctrl-C does not wait for that")
        with suppress(LabError):
            # The same request again says which it is.
            leases.delete(leases.create(**wanted, idempotency_key=key).id)
        raise


def _add_lease(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lease", metavar="LEASE", help="the id of a lease")


def _add_hosts(parser: argparse.ArgumentParser) -> None:
    hosts = parser.add_argument("hosts", nargs="*", metavar="HOST", help="the name of a host")
    words.complete(hosts, words.hosts)
    group = parser.add_argument_group("which hosts, if none are named")
    group.add_argument("--count", type=count, metavar="N", help="so many")
    group.add_argument(
        "--requires",
        action="append",
        metavar="SENTENCE",
        help="what each must fulfil: 'memory_total_mib >= 4096'; can be given several times",
    )
    group.add_argument("--group", metavar="NAME", help="hosts of this group")
    group.add_argument("--zone", metavar="NAME", help="hosts of this zone")
    parser.add_argument("--note", metavar="TEXT", help="what it is for")
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="an ssh public key (~/.ssh/id_ed25519.pub) that lets in while the lease is active, on"
        " hosts that are set up for it; can be given several times",
    )


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say of the hosts of a lease.

    :raises UsageError: they name hosts, and say which to choose, or neither
    """
    names = ("count", "requires", "group", "zone")
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.hosts and asked:
        raise UsageError(f"the hosts are named, so there is nothing to choose: drop --{min(asked)}")
    if not args.hosts and "count" not in asked:
        raise UsageError("which hosts? name them, or say how many with --count")
    keys = [_key(file) for file in args.key] or None
    return {"hosts": args.hosts, "note": args.note, "keys": keys, **asked}


def _key(file: Path) -> str:
    """Return the public key in a file.

    :raises UsageError: it is no public key; a private one goes nowhere
    """
    with file.open("rb") as opened:
        text = opened.read(MAX_KEY).decode("utf-8", "replace").strip()
    if "PRIVATE" in text or "\n" in text or not text:
        raise UsageError(f"{file} is no public key; expected one line, as in a .pub file")
    return text


def _add_end(parser: argparse.ArgumentParser) -> None:
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--seconds", type=seconds, metavar="SECONDS", help="how long it lasts")
    end.add_argument("--until", metavar="TIME", help="until when: 2026-11-21T08:00:00Z")
