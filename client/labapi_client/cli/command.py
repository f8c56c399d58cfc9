"""What all commands have in common: the lab, errors in one line, and values that are safe to print.

A third party's command is made of the same classes: ``LabCommand``, ``LabLister``, ``LabShow``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from labapi_client.cli.arguments import count
from labapi_client.cli.program import USAGE
from labapi_client.cli.shell import URL_HELP
from labapi_client.cli.terminal import plain
from labapi_client.exceptions import ConnectionFailed, LabError

if TYPE_CHECKING:
    from labapi_client.lab import Lab

Rows = tuple[Sequence[str], Iterable[Sequence[Any]]]
Fields = tuple[Sequence[str], Sequence[Any]]


MAX_SHOWN = 200  # characters of a word that cannot be used


class UsageError(Exception):
    """What was typed cannot be used."""


class LabCommand(Command):
    """A command that asks a lab.

    :ivar url: what ``--url`` of this command says
    :cvar epilog: the text below the options
    """

    app: Any
    url: str | None = None
    epilog: ClassVar[str] = ""

    def _load_hooks(self) -> None:
        # cliff would look for distributions that change this command: 4 ms, or 40 without a cache.
        self._hooks: list[Any] = []

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --url."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--url", metavar="URL", help=URL_HELP)
        return parser

    @property
    def lab(self) -> Lab:
        """The lab that is meant.

        :raises LabError: it is not clear where it is, or who asks
        """
        manager = self.app.client_manager
        if self.url is None:
            lab: Lab = manager.lab
            return lab
        from labapi_client import connect

        return connect(self.url, session=manager.session)  # within openstack

    def get_epilog(self) -> str:
        """Return the text below the options; cliff's own reads all distributions: 70 ms."""
        return self.epilog

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run it; an error is one line, and exit status 2."""
        self.url = parsed_args.url
        try:
            return int(super().run(parsed_args) or 0)
        except (LabError, UsageError) as error:
            return self.failed(str(error), getattr(error, "errors", ()))
        except BrokenPipeError:
            raise
        except UnicodeEncodeError as error:
            return self.failed(f"{error.object[:MAX_SHOWN]!r} is not text in UTF-8")
        except OSError as error:
            return self.failed(f"{error.filename or 'the system'}: {error.strerror or error}")
        except Exception as error:
            if self.app.options.debug:
                raise
            kind = type(error).__name__
            return self.failed(f"unexpected {kind}: {error} (--debug shows where)")

    def failed(self, text: str, errors: Iterable[str] = ()) -> int:
        """Print an error; return the exit status that goes with it.

        :param errors: what it is made of, each for a line of its own if the text has it not
        """
        self.app.stdout.flush()
        more = (f"  {error}" for error in errors if error not in text)
        for line in (f"{self.app.NAME}: {text}", *more):
            self.app.stderr.write(f"{plain(line)}\n")
        return USAGE

    def each(self, names: Iterable[str], do: Callable[[str], object]) -> int:
        """Do something with each, whatever became of those before; return the exit status."""
        status = 0
        for name in names:
            try:
                do(name)
            except ConnectionFailed:
                raise  # it is the same for all
            except LabError as error:
                status = self.failed(str(error))
        return status

    def say(self, text: str) -> None:
        """Tell the user something that is not the result."""
        if not getattr(self.app.options, "quiet", False):
            self.app.stderr.write(f"{plain(text)}\n")
            self.app.stderr.flush()

    def way_back(self, wait: str, cancel: str) -> str:
        """Say how to come back to what is left running.

        :param wait: the words of the command that waits for it
        :param cancel: of the one that ends it
        """
        program = "lab" if self.app.NAME == "lab" else f"{self.app.NAME} lab"
        return (
            f"not waiting any more; '{program} {wait}' comes back to it, '{program} {cancel}'"
            " ends it"
        )


class _Printed(LabCommand):
    """A command that prints fields in the format that is asked for."""

    formatter_namespace: Any

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the options of the formats."""
        try:
            return super().get_parser(prog_name)
        except ValueError:
            text = "CLIFF_MAX_TERM_WIDTH and CLIFF_FIT_WIDTH have to be numbers"
            raise UsageError(text) from None

    def _load_formatter_plugins(self) -> Any:
        from labapi_client.cli.printing import formatters

        return formatters(self.formatter_namespace)

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        """Print, nothing raw from the lab to a terminal."""
        from labapi_client.cli.printing import Printable

        self.formatter: Any = Printable(self.formatter, parsed_args.formatter)
        try:
            return int(super().produce_output(parsed_args, column_names, data) or 0)  # type: ignore[misc]
        except ValueError as error:
            if not parsed_args.columns:
                raise
            raise UsageError(str(error)) from None  # a column that there is not


class LabLister(_Printed, Lister):
    """A command that prints a table of things."""

    def rows(self, things: Iterable[Any], columns: Sequence[str]) -> list[list[Any]]:
        """Return the columns of what the SDK returned, as JSON has them."""
        import msgspec

        return [[thing[column] for column in columns] for thing in map(msgspec.to_builtins, things)]


class NewestFirst(LabLister):
    """A list of what has a state and a result, newest first.

    :cvar things: what they are, in the plural
    """

    things: ClassVar[str]
    MOST: ClassVar[int] = 50

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the filters that all of them have, and --limit."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--state", help="queued, running, cancelling or finished")
        parser.add_argument("--result", help="PASS, FAIL, ERROR, TIMEOUT or CANCELLED")
        parser.add_argument(
            "--since",
            metavar="TIME",
            help=f"only {self.things} made since then: 2026-11-21T08:00:00Z",
        )
        how_many = parser.add_mutually_exclusive_group()
        how_many.add_argument(
            "--limit",
            type=count,
            default=self.MOST,
            metavar="N",
            help=f"at most so many ({self.MOST})",
        )
        how_many.add_argument("--all", action="store_true", help="all that there are")
        return parser

    def newest(
        self, list_: Callable[..., Iterator[Any]], args: argparse.Namespace, *filters: str
    ) -> Iterator[Any]:
        """Yield what a manager lists, as much as is wanted.

        :param filters: names of options that narrow it down further
        """
        wanted = {name: getattr(args, name) for name in ("state", "result", "since", *filters)}
        most = None if args.all else args.limit
        return islice(list_(limit=most and min(most, 1000), **wanted), most)


class LabShow(_Printed, ShowOne):
    """A command that prints the fields of one thing."""

    hidden: ClassVar[frozenset[str]] = frozenset()

    def fields(self, thing: Any) -> Fields:
        """Return names and values of what the SDK returned."""
        import msgspec

        found = msgspec.to_builtins(thing)
        shown = {name: value for name, value in found.items() if name not in self.hidden}
        return tuple(shown), tuple(shown.values())
