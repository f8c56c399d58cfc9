"""One Paste file, read as PasteDeploy reads it, without stopping at the first mistake."""

from __future__ import annotations

import configparser
import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paste.deploy import loadwsgi

_SCHEME = re.compile("[a-zA-Z]+:")
_OVERRIDDEN = (
    "[DEFAULT] has it too, and Paste takes that one ({there!r}) and not this ({here!r});"
    " write 'set {name} = {here}', or remove it from [DEFAULT]"
)
_BY_THE_PROGRAM = "the program itself gives this one ({there!r}); call it something else"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is written: a file, a section without its brackets, an option."""

    file: str
    section: str = ""
    option: str = ""

    def __str__(self) -> str:
        section = f"[{self.section}]" if self.section else ""
        return ": ".join(part for part in (self.file, section, self.option) if part)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, where, and what was expected.

    :ivar fatal: the API does not start with it; otherwise it may be meant
    """

    place: Place
    problem: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.place}: {'' if self.fatal else 'warning: '}{self.problem}"


class Unreadable(Exception):
    """A file that cannot be read at all.

    :ivar finding: why
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Value:
    """The text of an option, and where it comes from.

    :ivar how: ``set`` if the section writes ``set option = value``
    """

    text: str
    place: Place
    how: str = ""

    @property
    def origin(self) -> str:
        """Where it comes from, for people."""
        if not self.place.section:
            return "the program"
        return f"[{self.place.section}]{' ' if self.how else ''}{self.how}"


class PasteFile:
    """The sections of one file.

    :param path: of the file
    :param given: what the program adds to ``[DEFAULT]``
    :raises Unreadable: the file is not there, or not an ini file
    """

    def __init__(self, path: str, given: Mapping[str, str]) -> None:
        self.path = path
        # This one takes [DEFAULT] for a section like any other, so it tells what stands where.
        self._own = configparser.RawConfigParser(default_section="\n")
        self._own.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            loader = loadwsgi.ConfigLoader(path)
            with open(path) as file:
                self._own.read_file(file)
        except OSError as error:
            raise Unreadable(Finding(Place(path), f"{error.strerror}")) from error
        except (configparser.Error, UnicodeError) as error:
            raise Unreadable(_broken(path, error)) from error
        loader.update_defaults(given, overwrite=False)
        self._parser: configparser.ConfigParser = loader.parser
        self._added = {"here", "__file__", *given}
        self.sections: list[str] = self._parser.sections()

    def place(self, section: str, option: str = "") -> Place:
        """Return a place in this file."""
        return Place(self.path, section, option)

    def defaults(self, findings: list[Finding]) -> dict[str, Value]:
        """Return what every section inherits."""
        values = {}
        for name in self._parser.defaults():
            written = "DEFAULT" in self._own and name in self._own["DEFAULT"]
            place = self.place("DEFAULT" if written else "", name)
            text = self._text("DEFAULT", name, findings)
            if text is not None:
                values[name] = Value(text, place)
        return values

    def options(
        self, section: str, inherited: Mapping[str, Value], findings: list[Finding]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """Return a section's own options, and the global ones that it has.

        :param inherited: the global options of the section that refers to this one
        """
        defaults = self.defaults(findings)
        given = {**defaults, **inherited}
        local: dict[str, Value] = {}
        fetched: dict[str, tuple[str, Place]] = {}
        for option in self._own[section]:
            place = self.place(section, option)
            text = self._text(section, option, findings)
            word, _, name = option.partition(" ")
            if text is None:
                continue
            if word == "set" and name:
                given[name.strip()] = Value(text, place, "set")
            elif word == "get" and name:
                fetched[name.strip()] = (text, place)
            elif option in defaults:
                findings += self._overridden(place, text, defaults[option])
            else:
                local[option] = Value(text, place)
        for name, (source, place) in fetched.items():
            if source in given:
                local[name] = Value(given[source].text, place, f"get {source}")
            else:
                findings.append(Finding(place, _unknown("global option", source, given)))
        return local, given

    def _text(self, section: str, option: str, findings: list[Finding]) -> str | None:
        try:
            return self._parser.get(section, option)
        except configparser.InterpolationMissingOptionError as error:
            problem = f"there is no '{error.reference}' to put in; write %% for a per cent sign"
        except configparser.InterpolationError:
            problem = (
                "% begins a name that is put in, such as %(here)s; write %% for a per cent sign"
            )
        findings.append(Finding(self.place(section, option), problem))
        return None

    def _overridden(self, place: Place, text: str, default: Value) -> Iterable[Finding]:
        differ = default.text != text
        shape = _OVERRIDDEN if default.place.section else _BY_THE_PROGRAM
        if _may_be_secret(place.option):
            problem = shape.format(there="…", here="…", name=place.option)
        else:
            problem = shape.format(there=default.text, here=text, name=place.option)
        yield Finding(place, problem, fatal=differ)


def masked(name: str, text: str) -> str:
    """Return a value that may be shown, of an option about which only its name is known."""
    if _may_be_secret(name):
        return "***"
    scheme, found, rest = text.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}://***@{host}" if found and at and login else text


def _may_be_secret(name: str) -> bool:
    words = ("password", "passwd", "secret", "token", "key", "credential")
    return any(word in name.lower() for word in words)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?``, or nothing if no known name is near."""
    found = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{found[0]}'?" if found else ""


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {kind} '{name}'{nearest(name, known)}"


def _broken(path: str, error: Exception) -> Finding:
    if isinstance(error, configparser.DuplicateOptionError):
        problem = f"line {error.lineno}: the option stands twice in this section"
        return Finding(Place(path, error.section, error.option), problem)
    if isinstance(error, configparser.DuplicateSectionError):
        return Finding(
            Place(path, error.section),
            f"line {error.lineno}: a section of this name stands further up already",
        )
    if isinstance(error, configparser.MissingSectionHeaderError):
        problem = f"line {error.lineno}: expected a section first, such as [composite:main]"
        return Finding(Place(path), problem)
    return Finding(Place(path), " ".join(str(error).split()))


def has_scheme(name: str) -> bool:
    """Say whether a name is a URI such as ``egg:…`` or ``config:…`` and not a section's."""
    return _SCHEME.match(name) is not None


def is_config(name: str) -> bool:
    """Say whether a name leads to another file."""
    return name.lower().startswith("config:")


def relative_to(file: str, path: str) -> str:
    """Return the path that ``config:PATH`` means in a file."""
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(file)), path))
