"""``lab limits``: how many requests the lab takes from you."""

from __future__ import annotations

import argparse

from labapi_client.cli.command import LabLister, Rows

COLUMNS = ("name", "per", "limit", "window", "remaining", "reset", "methods", "path")


class Limits(LabLister):
    """Show how many requests the rate limit leaves you; a window is so many seconds."""

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        """Ask the lab."""
        return COLUMNS, self.rows(self.lab.limits.list(), COLUMNS)
