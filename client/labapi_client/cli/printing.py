"""Values in cliff's formats, without what would speak to the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, TextIO

from cliff.formatters.base import SingleFormatter
from cliff.formatters.commaseparated import CSVLister
from cliff.formatters.json_format import JSONFormatter
from cliff.formatters.table import TableFormatter
from cliff.formatters.value import ValueFormatter
from cliff.formatters.yaml_format import YAMLFormatter
from stevedore import ExtensionManager
from stevedore.extension import Extension

from labapi_client.cli.terminal import is_terminal, plain

# cliff's own by name; looking for others would read the metadata of all distributions.
_FORMATTERS: dict[str, Any] = {
    "csv": CSVLister,
    "json": JSONFormatter,
    "table": TableFormatter,
    "value": ValueFormatter,
    "yaml": YAMLFormatter,
}
_SHOW = "cliff.formatter.show"

FOR_PEOPLE = frozenset({"table"})
# These escape what is not text themselves.
ESCAPED = frozenset({"json", "yaml"})


def formatters(namespace: str) -> ExtensionManager[Any]:
    """Return the formats of a command, as cliff wants them."""
    found = [
        Extension(name, EntryPoint(name, made.__module__, namespace), made, made())
        for name, made in _FORMATTERS.items()
        if namespace != _SHOW or issubclass(made, SingleFormatter)
    ]
    return ExtensionManager.make_test_instance(found, namespace)


class Printable:
    """A formatter of cliff that is given text only that is safe where it goes.

    A table is for people: a mapping is a line for each item, what is unknown is a dash. Programs
    get values as they are, but no terminal does.
    """

    def __init__(self, formatter: Any, name: str) -> None:
        self._formatter = formatter
        self._name = name

    def emit_list(
        self,
        names: Sequence[str],
        rows: Iterable[Sequence[Any]],
        stdout: TextIO,
        args: argparse.Namespace,
    ) -> None:
        """Print a table of things."""
        shown = (self._row(row, stdout) for row in rows)
        self._formatter.emit_list(names, shown, stdout, args)

    def emit_one(
        self, names: Sequence[str], row: Sequence[Any], stdout: TextIO, args: argparse.Namespace
    ) -> None:
        """Print the fields of one thing."""
        self._formatter.emit_one(names, self._row(row, stdout), stdout, args)

    def _row(self, row: Sequence[Any], stdout: TextIO) -> list[Any]:
        if self._name in ESCAPED:
            return list(row)
        if self._name in FOR_PEOPLE:
            return [readable(value) for value in row]
        if is_terminal(stdout):
            return [plain(v, lines=True) if isinstance(v, str) else v for v in row]
        return list(row)


def readable(value: Any) -> Any:
    """Return a value as people read it: numbers as they are, all else as text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return "\n".join(plain(f"{name}={text}") for name, text in _items(value))
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return "\n".join(str(readable(item)).replace("\n", " ") for item in value)
        return plain(", ".join(str(readable(item)) for item in value))
    return plain(str(value), lines=True)


def _items(mapping: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in sorted(mapping.items()):
        if isinstance(value, Mapping) and value:
            yield from _items(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", str(readable(value)).replace("\n", " ")
