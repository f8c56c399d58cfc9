"""``labapi-manage key …``: the keys of conductors."""

from __future__ import annotations

import argparse
from pathlib import Path

from labapi.cmd.manage import Operator
from labapi.rpc import signing


class KeyCreate(Operator):
    """Make a pair of keys: a private one for conductors, and FILE.pub for agents."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the argument FILE."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "file", type=Path, help="file to make for the private key; it must not exist"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Write both, and say where they belong."""
        private = parsed_args.file.absolute()
        public = private.with_name(f"{private.name}.pub")
        name = signing.create_key(private, public)
        self.app.stdout.write(
            f"key {name}\n\n"
            f"labapi.conf of conductors; keep the file to them:\n"
            f"    [conductor]\n    signing_key = {private}\n\n"
            f"labapi.conf of agents, with a copy of {public}:\n"
            f"    [agent]\n    trusted_keys = /etc/labapi/{public.name}\n"
        )
