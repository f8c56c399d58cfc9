"""Kinds of arguments that several commands take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def seconds(text: str) -> float:
    """Read a number of seconds, not negative and not without end.

    :raises argparse.ArgumentTypeError: it is none
    """
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return found


def count(text: str) -> int:
    """Read a whole number of 1 or more.

    :raises argparse.ArgumentTypeError: it is none
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def new_file(text: str) -> Path:
    """Read the name of a file that is written at the end, and is to be heard of before.

    :raises argparse.ArgumentTypeError: it cannot be written
    """
    file = Path(text)
    there = file if file.exists() else file.parent
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: is a directory")
    if not there.exists():
        raise argparse.ArgumentTypeError(f"{text}: there is no such directory")
    if not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text}: cannot be written")
    return file


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the argument CMD: all that stands behind the first ``--``, options and all."""
    parser.add_argument(
        "command", nargs="*", metavar="CMD", help="the program and its arguments, behind --"
    )
    parse = parser.parse_known_args

    # argparse itself takes out each -- that it finds.
    def parse_args(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = list(args or ())
        at = words.index("--") if "--" in words else len(words)
        found, unknown = parse(words[:at], namespace)
        if unknown:
            hint = "" if at < len(words) else "; a program's own stand behind --"
            parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        found.command += words[at + 1 :]
        return found

    parser.parse_args = parse_args  # type: ignore[method-assign, assignment]
