"""``labapi-manage``: the operator's tool."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from importlib import metadata
from typing import Any, NoReturn

from cliff.app import App
from cliff.command import Command
from cliff.commandmanager import CommandManager
from oslo_config import cfg

import labapi
from labapi import config
from labapi.exceptions import LabapiError

PIPE_CLOSED = 141  # cliff's exit status when nobody reads the output any more


class Commands(CommandManager):
    """What there is, by name; only the command that runs is imported."""

    def load_commands(self, namespace: str) -> None:
        """Note the commands of a group; stevedore would import all of them."""
        self.group_list.append(namespace)
        for found in metadata.entry_points(group=namespace):
            self.commands[found.name.replace("_", " ")] = found


class Manage(App):
    """Looks after a labapi installation."""

    def __init__(self) -> None:
        super().__init__(
            description="Looks after a labapi installation.",
            version=labapi.__version__,
            command_manager=Commands("labapi.manage"),
            deferred_help=True,
        )
        self.conf: cfg.ConfigOpts

    def build_option_parser(self, *args: Any, **kwargs: Any) -> argparse.ArgumentParser:
        """Add the options that say which installation is meant."""
        # Unabbreviated: --state, which a command has, would be taken for --state-path.
        kwargs["argparse_kwargs"] = {"allow_abbrev": False}
        parser: argparse.ArgumentParser = super().build_option_parser(*args, **kwargs)
        parser.add_argument(
            "--config-file",
            action="append",
            default=[],
            metavar="FILE",
            help="the labapi.conf to read",
        )
        parser.add_argument(
            "--state-path", metavar="FOLDER", help="folder of the embedded database"
        )
        return parser

    def initialize_app(self, argv: list[str]) -> None:
        """Read the configuration."""
        args = [arg for file in self.options.config_file for arg in ("--config-file", file)]
        if self.options.state_path:
            args += ["--state-path", self.options.state_path]
        self.arguments = args
        self.conf = config.load(args, prog="labapi-manage", description="")

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command; an expected error is one line and exit status 1."""
        if self.options.debug:
            return int(super().run_subcommand(argv) or 0)
        try:
            return int(super().run_subcommand(argv) or 0)
        except BrokenPipeError:
            raise
        except (LabapiError, cfg.Error, OSError) as error:
            self.stderr.write(f"labapi-manage: {error}\n")
            return 1

    def interact(self) -> None:
        """Say how it is used: there is no interactive mode."""
        self.parser.print_usage(self.stderr)
        self.stderr.write("labapi-manage: there is no command; 'labapi-manage help' lists them\n")
        sys.exit(2)

    def configure_logging(self) -> None:
        """Keep the remarks of libraries off the terminal."""
        super().configure_logging()
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("oslo_policy").setLevel(logging.CRITICAL)
        logging.getLogger("stevedore").setLevel(logging.ERROR)


class Operator(Command):
    """A command of this tool."""

    app: Manage

    @property
    def conf(self) -> cfg.ConfigOpts:
        """The configuration of the installation that is meant."""
        return self.app.conf

    def get_epilog(self) -> str:
        """Return nothing: to say which distribution a command is of, cliff reads of all of them."""
        return ""


def main() -> NoReturn:
    """Run the program."""
    status = Manage().run(sys.argv[1:])
    if status == PIPE_CLOSED:
        # What could not be written the interpreter would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
