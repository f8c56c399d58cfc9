"""Text on its way to a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO


def plain(text: str, *, lines: bool = False) -> str:
    """Return a text with ? for what would speak to the terminal (escape sequences, new lines).

    :param lines: it may have several lines, and tabs
    """
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else "?" for c in text)


def is_terminal(stream: TextIO) -> bool:
    """Say whether somebody looks at this."""
    return stream.isatty()


def can_write_over(stream: TextIO) -> bool:
    """Say whether lines that stand there can be written over."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


class StatusLine:
    """A line at the end of a terminal that is written over; nothing where there is no terminal.

    :param stream: where it stands
    :param on: False to write nothing at all
    """

    def __init__(self, stream: TextIO, *, on: bool = True) -> None:
        self._stream = stream
        self.on = on and can_write_over(stream)
        self._there = False

    def show(self, text: str) -> None:
        """Put a text in its place, cut to the width of the terminal."""
        if not self.on:
            return
        import shutil

        width = shutil.get_terminal_size().columns - 1
        self._stream.write(f"\r\x1b[K{plain(text)[:width]}")
        self._stream.flush()
        self._there = True

    def clear(self) -> None:
        """Make room for something else."""
        if self._there:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._there = False


class Block:
    """Lines at the end of a terminal that are written over; nothing where there is no terminal.

    :param stream: where they stand
    :param on: False to write nothing at all
    """

    def __init__(self, stream: TextIO, *, on: bool = True) -> None:
        self._stream = stream
        self.on = on and can_write_over(stream)
        self._height = 0

    @property
    def room(self) -> int:
        """How many lines can be written over: a terminal does not go up beyond its first one."""
        import shutil

        return max(1, shutil.get_terminal_size().lines - 1)

    def show(self, lines: Sequence[str]) -> None:
        """Put lines in place of those that are there, each cut to the width of the terminal."""
        if not self.on:
            return
        import shutil

        width = shutil.get_terminal_size().columns - 1
        text = "".join(f"{plain(line)[:width]}\n" for line in lines)
        self._stream.write(f"{self._up()}{text}")
        self._stream.flush()
        self._height = len(lines)

    def clear(self) -> None:
        """Make room for something else."""
        if self._height:
            self._stream.write(self._up())
            self._stream.flush()
            self._height = 0

    def _up(self) -> str:
        return f"\r\x1b[{self._height}A\x1b[J" if self._height else ""


def interactive() -> bool:
    """Say whether there is somebody who can be asked."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)
