"""One Paste file, read as PasteDeploy reads it, without stopping at the first mistake."""

from __future__ import annotations

import configparser
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from paste.deploy import loadwsgi

from labapi.pipeline.check.finding import Finding, Place, may_be_secret, nearest
from labapi.pipeline.check.lines import Lines

# Bytes; a longer file is not taken for a Paste file.
LARGEST = 1024 * 1024
# Characters of a value with all that %(name)s puts into it; a few short lines may multiply.
LONGEST = 64 * 1024

_SCHEME = re.compile("[a-zA-Z]+:")
# What Paste itself reads, and only in the section; "set" is for what it hands on.
_OF_PASTE = re.compile(r"use|pipeline|next|require|filter-with|paste\..*|/.*")
_PUT_IN = re.compile(r"%\(([^()]+)\)s")
_COMMENT = re.compile(r"(?:^|\s)[#;](?:\s|[A-Za-z]|$)")
_QUOTED = re.compile(r"""(["'])[^"']*\1""")
_OVERRIDDEN = (
    "[DEFAULT] has it too, and Paste takes that one ({there!r}) and not this ({here!r});"
    " {set}remove it from [DEFAULT]"
)
_BY_THE_PROGRAM = "the program itself gives this one ({there!r}); call it something else"


class Unreadable(Exception):
    """A file in which no sections can be found.

    :ivar findings: why
    """

    def __init__(self, *findings: Finding) -> None:
        super().__init__(*map(str, findings))
        self.findings = findings


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
        """Where it comes from, as it is shown to operators."""
        if not self.place.section:
            return "the program"
        return f"[{self.place.section}]{' ' if self.how else ''}{self.how}"


class PasteFile:
    """The sections of one file.

    :param path: of the file
    :param given: what the program adds to ``[DEFAULT]``
    :ivar text: all of it
    :ivar findings: what is wrong, or may be, with its lines
    :raises OSError: it cannot be read
    :raises Unreadable: its lines are wrong
    """

    def __init__(self, path: str, given: Mapping[str, str]) -> None:
        self.path = path
        lines = Lines(path)
        text = lines.read(contents(path))
        self.findings = lines.findings
        if text is None:
            raise Unreadable(*lines.findings)
        self.text = text
        # The other one takes [DEFAULT] for a section like any other: it tells what stands where.
        here = os.path.abspath(path)
        defaults = {**given, "here": os.path.dirname(here), "__file__": here}
        self._parser = loadwsgi.NicerConfigParser(path, defaults=defaults)
        self._own = configparser.RawConfigParser(default_section="\n")
        try:
            for parser in (self._parser, self._own):
                parser.optionxform = str  # type: ignore[method-assign]
                parser.read_string(text, path)
        except configparser.Error as error:
            raise Unreadable(Finding(Place(path), " ".join(str(error).split()))) from error
        self.sections: list[str] = self._parser.sections()
        self._lengths: dict[tuple[str, str, int], int] = {}

    def place(self, section: str, option: str = "") -> Place:
        """Return a place in this file."""
        return Place(self.path, section, option)

    def defaults(self, findings: list[Finding]) -> dict[str, Value]:
        """Return what every section inherits."""
        values = {}
        for name in configparser.ConfigParser.defaults(self._parser):  # Paste's own may raise
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
            findings += _taken_as_written(place, text)
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
        if self._length(section, option) > LONGEST:
            problem = f"with what %(name)s puts into it, it has more than {LONGEST} characters"
            findings.append(Finding(self.place(section, option), problem))
            return None
        try:
            return str(self._parser.get(section, option))
        except configparser.InterpolationMissingOptionError as error:
            known = configparser.ConfigParser.defaults(self._parser)
            if section in self._own:
                known = {**known, **self._own[section]}
            problem = f"there is no '{error.reference}' to put in (write %% for a per cent sign)"
            problem += nearest(error.reference, known)
        except configparser.InterpolationError:
            problem = (
                "% begins a name that is put in, such as %(here)s; write %% for a per cent sign"
            )
        findings.append(Finding(self.place(section, option), problem))
        return None

    def _length(self, section: str, option: str, depth: int = 0) -> int:
        """Return how long a value is with all that is put into it, without putting it in."""
        key = (section, option, depth)
        if key not in self._lengths:
            raw = ""
            if depth <= configparser.MAX_INTERPOLATION_DEPTH:
                raw = self._parser.get(section, option, raw=True, fallback="")
            put_in = Counter(_PUT_IN.findall(raw)).items()
            self._lengths[key] = len(_PUT_IN.sub("", raw)) + sum(
                count * self._length(section, name, depth + 1) for name, count in put_in
            )
        return self._lengths[key]

    def _overridden(self, place: Place, text: str, default: Value) -> Iterator[Finding]:
        hidden = may_be_secret(place.option)
        there, here = ("…", "…") if hidden else (default.text, text)
        if default.place.section:
            advice = f"write 'set {place.option} = {here}', or "
            advice = "" if _OF_PASTE.fullmatch(place.option) else advice
            problem = _OVERRIDDEN.format(there=there, here=here, set=advice)
        else:
            problem = _BY_THE_PROGRAM.format(there=there)
        yield Finding(place, problem, fatal=default.text != text)


def contents(path: str) -> bytes:
    """Return the bytes of a file, if it can be a Paste file.

    :raises OSError: it cannot be read, or is none
    """
    if not os.path.isfile(path):
        os.stat(path)  # says why, if it is not there
        raise OSError(0, "this is not a file")
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise OSError(0, f"a Paste file has at most {LARGEST} bytes")
    return data


def _taken_as_written(place: Place, text: str) -> Iterator[Finding]:
    """Warn of a comment behind a value, and of quotes around it: to Paste they are a part of it."""
    if place.option != "pipeline" and _COMMENT.search(text):
        problem = "what looks like a comment is a part of the value; give it a line of its own"
        yield Finding(place, problem, fatal=False)
    if _QUOTED.fullmatch(text) and not _OF_PASTE.fullmatch(place.option):
        problem = "the quotation marks are a part of the value; take them away"
        yield Finding(place, problem, fatal=False)


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"there is no {kind} '{name}'{nearest(name, known)}"


def has_scheme(name: str) -> bool:
    """Say whether a name is a URI such as ``egg:…`` or ``config:…`` and not a section's."""
    return _SCHEME.match(name) is not None


def is_config(name: str) -> bool:
    """Say whether a name leads to another file."""
    return name.lower().startswith("config:")


def relative_to(file: str, path: str) -> str:
    """Return the path that ``config:PATH`` means in a file.

    One file has one such path, as far as it has one folder; the folder may be named by links.
    """
    folder, name = os.path.split(os.path.join(os.path.dirname(os.path.abspath(file)), path))
    return os.path.join(os.path.realpath(folder), name)
