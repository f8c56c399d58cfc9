"""``lab group …``: hosts that only some projects may use."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from labapi_client.cli import words
from labapi_client.cli.command import Fields, LabCommand, LabLister, LabShow, Rows, UsageError

COLUMNS = ("name", "hosts", "projects")
LONG_COLUMNS = ("metadata", "id", "created_at")


class GroupList(LabLister):
    """List the groups that your project may use; all of them for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --long."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--long", action="store_true", help=f"also {', '.join(LONG_COLUMNS)}")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab."""
        columns = COLUMNS + LONG_COLUMNS if parsed_args.long else COLUMNS
        return columns, self.rows(self.lab.groups.list(), columns)


class GroupShow(LabShow):
    """Show a group."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument GROUP."""
        parser = super().get_parser(prog_name)
        _add_group(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Ask the lab."""
        return self.fields(self.lab.groups.get(parsed_args.group))


class GroupCreate(LabShow):
    """Make a group: its hosts run cases of its projects only; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the group's name, hosts and projects."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME", help="letters, digits and ._-")
        _add_members(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Tell the lab."""
        return self.fields(self.lab.groups.create(parsed_args.name, **_members(parsed_args)))


class GroupSet(LabShow):
    """Change a group: its name, all of its hosts or all of its projects; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument GROUP and what can be changed."""
        parser = super().get_parser(prog_name)
        _add_group(parser)
        parser.add_argument("--name", metavar="NAME", help="the new name")
        _add_members(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Fields:
        """Tell the lab."""
        changes = _members(parsed_args)
        if parsed_args.name is not None:
            changes["name"] = parsed_args.name
        if not changes:
            raise UsageError("there is nothing to change; give --name, --host or --project")
        return self.fields(self.lab.groups.update(parsed_args.group, **changes))


class GroupDelete(LabCommand):
    """Delete groups: their hosts are for everybody then, unless in others; for administrators."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments GROUP."""
        parser = super().get_parser(prog_name)
        parser.add_argument("groups", nargs="+", metavar="GROUP", help="a name or an id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        return self.each(parsed_args.groups, self.lab.groups.delete)


class _Membership(LabCommand):
    """A command that says which hosts are in a group."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the arguments GROUP and HOST."""
        parser = super().get_parser(prog_name)
        _add_group(parser)
        hosts = parser.add_argument("hosts", nargs="+", metavar="HOST", help="the name of a host")
        words.complete(hosts, words.hosts)
        return parser


class GroupAdd(_Membership):
    """Put hosts into a group; for administrators."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        add = partial(self.lab.groups.add_host, parsed_args.group)
        return self.each(parsed_args.hosts, add)


class GroupRemove(_Membership):
    """Take hosts out of a group; for administrators."""

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Tell the lab."""
        remove = partial(self.lab.groups.remove_host, parsed_args.group)
        return self.each(parsed_args.hosts, remove)


def _add_group(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="a name or an id")


def _add_members(parser: argparse.ArgumentParser) -> None:
    host = parser.add_argument(
        "--host", action="append", metavar="HOST", help="a host; can be given several times"
    )
    words.complete(host, words.hosts)
    parser.add_argument(
        "--project",
        action="append",
        metavar="ID",
        help="a project that may use the hosts; can be given several times",
    )


def _members(args: argparse.Namespace) -> dict[str, Any]:
    given = {"hosts": args.host, "projects": args.project}
    return {name: value for name, value in given.items() if value is not None}
