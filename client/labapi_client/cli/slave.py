"""``lab slave …``: the machines of the lab."""

from __future__ import annotations

import argparse

from labapi_client.cli import words
from labapi_client.cli.command import Fields, LabCommand, LabLister, LabShow, Rows, UsageError

COLUMNS = ("id", "host", "address", "state", "status", "plugins")
FILTERS = (
    *("plugin", "method", "requires", "metadata", "free", "state", "status", "health"),
    *("group", "zone"),
)
LONG_COLUMNS = (*("health", "zone", "groups", "slots", "release", "last_seen", "metadata", "uuid"),)


class SlaveList(LabLister):
    """List the machines of the lab."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --long."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help=f"also {', '.join(LONG_COLUMNS)}")
        group = parser.add_argument_group("only those")
        plugin = group.add_argument("--plugin", help="that have this plugin")
        words.complete(plugin, words.plugins)
        method = group.add_argument("--method", help="that have this method")
        words.complete(method, words.methods)
        group.add_argument(
            "--requires",
            action="append",
            metavar="SENTENCE",
            help="that fulfil this: 'memory_total_mib >= 4096'; can be given several times",
        )
        group.add_argument(
            "--metadata",
            action="append",
            metavar="KEY=VALUE",
            help="that have this note; can be given several times",
        )
        group.add_argument(
            "--free",
            action="store_const",
            const="true",
            help="that would be given a case of your project now",
        )
        group.add_argument("--state", choices=("up", "down"), help="that are up, or down")
        group.add_argument(
            "--status", choices=("enabled", "disabled"), help="that are given work, or not"
        )
        group.add_argument("--health", choices=("good", "bad"), help="that are benched, or not")
        group.add_argument("--group", metavar="NAME", help="that are in this group")
        group.add_argument("--zone", metavar="NAME", help="that are in this zone")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab."""
        columns = COLUMNS + LONG_COLUMNS if parsed_args.long else COLUMNS
        filters = {name: getattr(parsed_args, name) for name in FILTERS}
        fields = [_FIELDS.get(column, column) for column in columns]
        return columns, self.rows(self.lab.slaves.list(**filters), fields)


class SlaveShow(LabShow):
    """Show a machine, and what it can run."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument HOST."""
        parser = super().get_parser(prog_name)
        add_host(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Ask the lab."""
        names, values = self.fields(self.lab.slaves.get(parsed_args.host))
        return tuple(_CALLED.get(name, name) for name in names), values


class SlaveSet(LabCommand):
    """Set notes (metadata) of a machine; the others stay as they are."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments HOST and KEY=VALUE."""
        parser = super().get_parser(prog_name)
        add_host(parser)
        parser.add_argument("notes", nargs="+", metavar="KEY=VALUE", help="a note: rack=r7")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Tell the lab."""
        notes = dict(map(_note, parsed_args.notes))
        self.lab.slaves.set_metadata(parsed_args.host, notes)


class SlaveUnset(LabCommand):
    """Remove notes (metadata) of a machine."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments HOST and KEY."""
        parser = super().get_parser(prog_name)
        add_host(parser)
        parser.add_argument("keys", nargs="+", metavar="KEY", help="the name of a note")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Tell the lab."""
        self.lab.slaves.unset_metadata(parsed_args.host, parsed_args.keys)


class SlaveBench(LabCommand):
    """Bench a machine: it finishes what it has and gets no more cases; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument HOST and the option --reason."""
        parser = super().get_parser(prog_name)
        add_host(parser)
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for others")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Tell the lab."""
        self.lab.slaves.set_health(parsed_args.host, "bad", parsed_args.reason)


class SlaveUnbench(LabCommand):
    """Give cases to a machine again that was benched; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument HOST."""
        parser = super().get_parser(prog_name)
        add_host(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Tell the lab."""
        self.lab.slaves.set_health(parsed_args.host, "good")


# What the API calls otherwise, for scripts that are older than this program.
_CALLED = {"compute_node_type": "plugins", "compute_node_method": "methods"}
_FIELDS = {called: name for name, called in _CALLED.items()}


def add_host(parser: argparse.ArgumentParser) -> None:
    """Add the argument HOST."""
    found = parser.add_argument("host", metavar="HOST", help="a name, a number or a UUID")
    words.complete(found, words.hosts)


def _note(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"{text!r} is no note; expected KEY=VALUE, such as rack=r7")
    return key, value
