"""Completion in bash, zsh and fish, by argcomplete: ``eval "$(lab complete)"``."""

from __future__ import annotations

import argparse
import os
from typing import Any

from argcomplete.finders import CompletionFinder
from argcomplete.lexers import split_line
from argcomplete.shell_integration import shellcode
from cliff.command import Command

from labapi_client.cli.shell import Shell

SHELLS = ("bash", "zsh", "fish")


class Complete(Command):
    """Print what makes a shell complete the words after lab, the lab's hosts among them.

    In ~/.bashrc or ~/.zshrc: eval "$(lab complete)"; in fish: lab complete --shell fish | source
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return a parser with the option --shell."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--shell", choices=SHELLS, default="bash", help="default: bash, which is zsh's, too"
        )
        return parser

    def get_epilog(self) -> str:
        """Return no more: cliff's own reads all distributions, which takes 70 ms."""
        return ""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        self.app.stdout.write(shellcode(["lab"], shell=parsed_args.shell))


def complete(shell: Shell, **streams: Any) -> None:
    """Print what may come next on the line that the shell has in ``COMP_LINE``, and end."""
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    typed = split_line(line)[3][1:]
    command = _command(shell, typed)
    if command is None:
        parser = _names(shell)
    else:
        cmd_class, length = command
        parser = cmd_class(shell, None).get_parser(f"{shell.NAME} {' '.join(typed[:length])}")
        # argcomplete takes the last word of the name for the program.
        os.environ["_ARGCOMPLETE"] = str(1 + length)
    finder: Any = CompletionFinder()
    finder(parser, always_complete_options=False, default_completer=_nothing, **streams)


def _command(shell: Shell, typed: list[str]) -> tuple[type[Command], int] | None:
    """Return the command that is typed, and of how many words its name is."""
    commands = shell.command_manager.commands
    for length in range(len(typed), 0, -1):
        if found := commands.get(" ".join(typed[:length])):
            return found.load(), length
    return None


def _names(shell: Shell) -> argparse.ArgumentParser:
    """Return a parser that knows the names of all commands, word by word."""
    root = shell.build_option_parser(None, None)
    below: dict[tuple[str, ...], Any] = {(): root.add_subparsers()}
    for name in sorted(shell.command_manager.commands):
        parts = tuple(name.split())
        for length in range(1, len(parts) + 1):
            path = parts[:length]
            if path in below:
                continue
            parser = below[path[:-1]].add_parser(path[-1], add_help=False, help="")
            if length < len(parts):
                below[path] = parser.add_subparsers()
    return root


def _nothing(**_: Any) -> list[str]:
    """Complete what no word is known for with nothing; a shell offers its files then."""
    return []
