"""``lab``: options, commands by name, and the way to the lab."""

from __future__ import annotations

import argparse
import difflib
import itertools
import logging
import sys
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cliff.app import App
from cliff.commandmanager import CommandManager
from cliff.help import HelpAction

from labapi_client.cli.program import PIPE_CLOSED, USAGE

if TYPE_CHECKING:
    from cliff.command import Command

    from labapi_client.cli.trace import Trace
    from labapi_client.lab import Lab

COMMANDS = "labapi_client.commands"  # the group of entry points, also for third parties

URL_HELP = (
    "where the lab is (LABAPI_URL; without any: http://127.0.0.1:8774, or what Keystone's"
    " catalogue has if OS_CLOUD or OS_AUTH_URL are set)"
)


class Commands(CommandManager):
    """What there is, by name; only the command that runs is imported."""

    def load_commands(self, namespace: str) -> None:
        """Note the commands of a group; stevedore would import all of them."""
        self.group_list.append(namespace)
        for found in metadata.entry_points(group=namespace):
            self.commands.setdefault(found.name.replace("_", " "), found)

    def add_command(self, name: str, command_class: type[Command]) -> None:
        """Add one of cliff's own, unless there is a better one of its name."""
        if name not in self.commands:
            super().add_command(name, command_class)


class Connection:
    """The lab that the options name, connected when it is first asked for.

    It stands where ``openstack`` has its client manager.
    """

    def __init__(self, options: argparse.Namespace, trace: Trace | None) -> None:
        self._options = options
        self._trace = trace

    @cached_property
    def lab(self) -> Lab:
        """The lab.

        :raises LabError: the options or the environment do not fit together
        """
        from labapi_client import connect

        return connect(self._options.url, cloud=self._options.cloud, debug=self._trace)


class Shell(App):
    """The program."""

    NAME = "lab"

    def __init__(self, **streams: Any) -> None:
        super().__init__(
            description="Runs test cases on the machines of a lab.",
            version=metadata.version("labapi-client"),
            command_manager=Commands(COMMANDS),
            **streams,
        )
        self.client_manager: Connection
        self._trace: Trace | None = None
        self._failed = False

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: Any = None
    ) -> argparse.ArgumentParser:
        """Return a parser of the options that stand before or after any command."""
        # Unabbreviated, and without --help: what a command has would be taken for these.
        parser = argparse.ArgumentParser(
            prog=self.NAME,
            description=description,
            epilog="'lab help COMMAND' describes one. docs/cli.md has a tour.",
            usage="lab [options] COMMAND ...",
            add_help=False,
            allow_abbrev=False,
        )
        parser.add_argument("--version", action="version", version=f"{self.NAME} {version}")
        parser.add_argument("--url", help=URL_HELP)
        parser.add_argument("--cloud", metavar="NAME", help="the lab of a cloud in clouds.yaml")
        parser.add_argument(
            "--debug",
            action="store_true",
            help="print requests as curl lines, and their answers; secrets are masked",
        )
        parser.add_argument("--timing", action="store_true", help="print how long requests took")
        loudness = parser.add_mutually_exclusive_group()
        loudness.add_argument(
            "-q", "--quiet", action="store_true", help="say nothing but results and errors"
        )
        loudness.add_argument(
            "-v", "--verbose", action="store_true", help="print what libraries log"
        )
        parser.set_defaults(verbose_level=1, log_file=None)
        return parser

    def configure_logging(self) -> None:
        """Send what is logged to standard error; of libraries only what is asked for."""
        level = logging.DEBUG if self.options.verbose else logging.ERROR
        logging.basicConfig(
            stream=self.stderr, level=level, format=f"{self.NAME}: %(message)s", force=True
        )

    def initialize_app(self, argv: list[str]) -> None:
        """Get ready to connect."""
        if self.options.debug or self.options.timing:
            from labapi_client.cli.trace import Trace

            self._trace = Trace(self.stderr, curl=self.options.debug)
        self.client_manager = Connection(self.options, self._trace)

    def run_subcommand(self, argv: list[str]) -> int:
        """Run a command, which tells itself what goes wrong in it."""
        if argv[0] in ("-h", "--help"):
            return self._help()
        words = _words(argv)
        if argv[len(words) :][:1] in (["-h"], ["--help"]) and not self._is_command(words):
            argv = ["help", *words]  # of all commands of a noun
        of_help = argv[0] == "help" and argv[1:2] and not argv[1].startswith("-")
        asked = argv[1:] if of_help else argv
        if not self._is_command(asked, begun=bool(of_help)):
            return self._unknown(asked)
        status = int(super().run_subcommand(argv))
        return USAGE if self._failed else status  # cliff's own is that of a test that failed

    def clean_up(self, cmd: Any, result: int, err: BaseException | None) -> None:
        """Print what the requests took."""
        self._failed = isinstance(err, Exception) and result != PIPE_CLOSED
        if self._trace is not None and self.options.timing:
            self._trace.print_times()

    def interact(self) -> None:
        """Say how it is used: there is no interactive mode."""
        self.parser.print_usage(self.stderr)
        self.stderr.write("lab: there is no command; 'lab help' lists them\n")
        sys.exit(USAGE)

    def _help(self) -> int:
        HelpAction([], dest=argparse.SUPPRESS, default=self)(self.parser, self.options, None)
        return 0

    def _is_command(self, argv: list[str], *, begun: bool = False) -> bool:
        """Say whether words name a command, or begin the names of some."""
        try:
            self.command_manager.find_command(argv)
        except ValueError:
            start = " ".join(argv)
            return begun and any(name.startswith(start) for name, _ in self.command_manager)
        return True

    def _unknown(self, argv: list[str]) -> int:
        words = _words(argv)
        if not words:
            self.stderr.write(f"lab: there is no option {argv[0]!r} before a command\n")
            return USAGE
        known = [name for name, _ in self.command_manager]
        of_noun = sorted(name for name in known if name.split()[0] == words[0])
        close = difflib.get_close_matches(" ".join(words[:2]), known, 1)
        near = of_noun if len(words) == 1 and of_noun else close or of_noun
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "'lab help' lists them"
        self.stderr.write(f"lab: there is no command {' '.join(words[:2])!r}; {hint}\n")
        return USAGE


def _words(argv: list[str]) -> list[str]:
    """Return what stands before the first option."""
    return list(itertools.takewhile(lambda word: not word.startswith("-"), argv))
