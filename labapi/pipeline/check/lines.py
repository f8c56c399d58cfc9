"""The lines of a Paste file: sections, options, and mistakes that hide one of them.

This follows ``configparser`` line by line. It knows the number of each line, and finds mistakes
that ``configparser`` does not see: it takes a section without its closing bracket for an option,
and an indented line for a part of the option above.
"""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

from labapi.pipeline.check.finding import Finding, Place, nearest_name, printable

_SECTION = re.compile(r"\[(?P<name>.+)\]")
_OPTION = re.compile(r"(?P<name>.*?)\s*[=:]\s*(?P<value>.*)$")
_LIKE_OPTION = re.compile(r"(?:[sg]et\s+)?[A-Za-z_/][\w./-]*\s*=")
_LIKE_SECTION = re.compile(r"\[[\w -]+(:[^\]]*)?\]?$")
_HALF = re.compile(r"[\w-]+:[^\[\]=]*\]")
# Nobody writes a longer line, and with one configparser's patterns take for ever. Characters.
LONGEST_LINE = 4096
# Control, format, and the separators of lines and paragraphs: nobody sees them in an editor.
_UNSEEN = {"Cc", "Cf", "Zl", "Zp"}
_DEFAULT = "DEFAULT"


@dataclass(slots=True)
class Lines:
    """Reads the lines of one file.

    :param path: of the file
    :ivar findings: what is wrong with them
    :ivar numbers: the line of each section, and of each option in it
    """

    path: str
    findings: list[Finding] = field(default_factory=list)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _section: str = ""
    _option: str = ""
    _indent: int = 0

    def read(self, data: bytes) -> str | None:
        """Look at a whole file.

        :returns: its text, None if there are mistakes: then nobody can say what the rest means
        """
        text = self._decoded(data)
        for number, line in enumerate(io.StringIO(text), 1) if text is not None else ():
            if not line.strip() or line.strip()[0] in "#;":
                continue
            if len(line) > LONGEST_LINE:
                problem = (
                    f"the line has more than {LONGEST_LINE} characters; write a list in several"
                )
                self._found(number, f"{problem} lines, all but the first indented")
            else:
                self.findings += self._unseen(number, line.rstrip("\n"))
                self.findings += self._line(number, line)
        return None if any(finding.fatal for finding in self.findings) else text

    def _decoded(self, data: bytes) -> str | None:
        if data.startswith(codecs.BOM_UTF8):
            self._found(1, "the file begins with a byte order mark; save it as UTF-8 without one")
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._found(
                line, f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
            )
            return None
        return text.replace("\r\n", "\n").replace("\r", "\n")  # as open() does

    def _found(self, number: int, problem: str) -> None:
        self.findings.append(self._finding(number, problem))

    def _finding(self, number: int, problem: str, option: str = "") -> Finding:
        return Finding(Place(self.path, self._section, option), f"line {number}: {problem}")

    def _unseen(self, number: int, line: str) -> Iterator[Finding]:
        for character in line:
            if character != "\t" and unicodedata.category(character) in _UNSEEN:
                name = printable(character)
                yield self._finding(number, f"the character '{name}' cannot be seen; remove it")
                return

    def _line(self, number: int, line: str) -> Iterator[Finding]:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if self._option and indent > self._indent:
            yield from self._continued(number, text)
            return
        self._indent = indent
        found = _SECTION.match(text)
        if found:
            yield from self._begins(number, found["name"])
            if not re.match(r"\s*([#;]|$)", text[found.end() :]):
                problem = "what stands behind the closing bracket is not read; give it its own line"
                yield self._finding(number, problem)
        elif text.startswith("[") or _HALF.fullmatch(text):
            which = "closing" if text.startswith("[") else "opening"
            yield self._finding(number, f"'{text}' has no {which} bracket")
            self._section = self._option = ""
        elif not self._section:
            if not self.findings:  # what is wrong before may have hidden a section
                yield self._finding(number, "expected a section first, such as [composite:main]")
        else:
            yield from self._option_line(number, text)

    def _continued(self, number: int, text: str) -> Iterator[Finding]:
        """Refuse an indented line that looks like an option or a section of its own."""
        if _LIKE_OPTION.match(text) or _LIKE_SECTION.match(text):
            what = text if text.startswith("[") else text.partition("=")[0].strip()
            problem = (
                f"'{what}' is indented, so it is a part of '{self._option}' above;"
                " take away the blanks or tabs before it"
            )
            yield self._finding(number, problem, self._option)
        if found := _SECTION.match(text):  # what follows is meant for it
            self._section, self._option = found["name"], ""

    def _begins(self, number: int, name: str) -> Iterator[Finding]:
        self._section, self._option = name, ""
        if "[" in name or "]" in name:
            problem = f"'[{name}]' has more brackets than one before the name and one behind it"
            yield self._finding(number, problem)
        first = self.numbers.setdefault((name, ""), number)
        if first != number and name != _DEFAULT:
            problem = f"a section of this name stands further up already, in line {first}"
            yield self._finding(number, problem)
        elif nearest_name(name, [_DEFAULT]) and name != _DEFAULT:
            problem = f"line {number}: this is a section like any other; did you mean [DEFAULT]?"
            yield Finding(Place(self.path, name), problem, fatal=False)

    def _option_line(self, number: int, text: str) -> Iterator[Finding]:
        found = _OPTION.match(text)
        if not found or not found["name"]:
            problem = (
                f"'{text}' is neither a section nor an option (name = value);"
                " indent it if it belongs to the value above"
            )
            yield self._finding(number, problem, self._option)
            return
        self._option = found["name"]
        first = self.numbers.setdefault((self._section, self._option), number)
        if first != number:
            problem = f"the option stands twice in this section, first in line {first}"
            yield self._finding(number, problem, self._option)
