"""``labapi-manage db …``: the schema of the database."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cliff.lister import Lister

from labapi.cmd.manage import Operator
from labapi.db import migration
from labapi.db.session import Database


class DBUpgrade(Operator):
    """Bring the database's schema to the newest revision, or to the one given."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument REVISION."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("revision", nargs="?", default="head")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Run the migrations that are missing."""
        database = Database(self.conf)
        before = migration.current(database)
        migration.upgrade(database, parsed_args.revision)
        after = migration.current(database)
        said = f"stays at {after}" if before == after else f"{before or 'empty'} -> {after}"
        self.app.stdout.write(f"{database.shown}: {said}\n")


class DBCurrent(Operator):
    """Print the schema revision that the database has."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the database."""
        self.app.stdout.write(f"{migration.current(Database(self.conf)) or 'empty'}\n")


class DBHistory(Operator, Lister):
    """List the schema's revisions, newest first."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[tuple[str, ...]]]:
        """Ask the migrations."""
        return ("Revision", "Title"), migration.history()
