"""The reference of all commands, made from their parsers: ``docs/cli.md`` and the man page.

python -m labapi_client.cli.reference docs/cli.md client/lab.1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from labapi_client.cli.running import STATUS_HELP
from labapi_client.cli.shell import COMMANDS, Shell

BEGIN, END = "<!-- commands -->\n", "<!-- end of commands -->"

ENVIRONMENT = (
    ("LABAPI_URL", "where the lab is, like --url"),
    ("LABAPI_USERNAME, LABAPI_PASSWORD", "who you are, where the lab asks for a password (basic)"),
    ("LABAPI_CACERT", "a file with the certificates of the authorities that are trusted"),
    ("OS_CLOUD, OS_AUTH_URL, OS_USERNAME, ...", "who you are, where the lab asks Keystone"),
    ("XDG_CACHE_HOME", "where words for completion are kept (~/.cache)"),
)

# Groups of options that belong to formats of output, and so to every list or show.
_OUTPUT = re.compile("formatter", re.IGNORECASE)
_COMMON = frozenset({"--url", "--help"})

Options = list[tuple[str, str]]


@dataclass(frozen=True)
class Command:
    """A command as its parser describes it.

    :ivar about: paragraphs
    :ivar output: the options that say how its output is printed
    """

    usage: str
    about: list[str]
    options: Options
    output: Options

    @property
    def name(self) -> str:
        """The words that are typed."""
        return re.split(r" [\[A-Z]", self.usage)[0]


def commands() -> list[Command]:
    """Return the commands of this distribution, by name."""
    shell = Shell()
    own = metadata.distribution("labapi-client").entry_points.select(group=COMMANDS)
    found = []
    for entry in sorted(own, key=lambda entry: entry.name):
        name = entry.name.replace("_", " ")
        parser = entry.load()(shell, None).get_parser(f"lab {name}")
        found.append(_described(f"lab {name}", parser))
    return found


def _described(name: str, parser: argparse.ArgumentParser) -> Command:
    options: Options = []
    output: Options = []
    for group in parser._action_groups:
        found = output if _OUTPUT.search(group.title or "") else options
        found += [_option(action) for action in group._group_actions if _is_shown(action)]
    # Positional arguments first, in whatever group they stand.
    options.sort(key=lambda option: option[0].startswith("-"))
    words = [_place(action) for action in parser._get_positional_actions()]
    usage = " ".join([name, *(["[options]"] if options or output else []), *words])
    return Command(usage, _paragraphs(parser.description or ""), options, output)


def _is_shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS and not _COMMON & set(action.option_strings)


def _option(action: argparse.Action) -> tuple[str, str]:
    help_text = " ".join((action.help or "").split()) % {"default": action.default}
    if not action.option_strings:
        return str(action.metavar or action.dest), help_text
    spec = ", ".join(action.option_strings)
    if action.nargs != 0:
        choices = "|".join(map(str, action.choices)) if action.choices else ""
        spec += f" {action.metavar or choices or action.dest.upper()}"
    return spec, help_text


def _place(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest)
    several = {"?": f"[{word}]", "*": f"[{word} ...]", "+": f"{word} [{word} ...]"}
    return several.get(str(action.nargs), word)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def markdown() -> str:
    """Return the commands as a part of a page."""
    found = commands()
    lines = ["### Options of all commands", "", *_table(_of_all()), ""]
    lines += ["### Options of lists and shows", "", *_table(_of_output(found)), ""]
    for command in found:
        lines += [f"### {command.name}", ""]
        for paragraph in command.about:
            lines += [_code(paragraph), ""]
        lines += ["```", command.usage, "```", ""]
        if command.options:
            lines += [*_table(command.options), ""]
    return "\n".join(lines)


def _of_all() -> Options:
    parser = Shell().parser
    return [_option(action) for action in parser._get_optional_actions()]


def _of_output(found: Iterable[Command]) -> Options:
    every = [option for command in found for option in command.output]
    return list({spec.split(" ")[0]: (spec, text) for spec, text in reversed(every)}.values())[::-1]


def _table(options: Options) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for spec, text in options:
        cell = _code(text).replace("|", "\\|")
        yield f"| `{spec.replace('|', chr(92) + '|')}` | {cell} |"


def _code(text: str) -> str:
    """Return text in which Markdown sees no markup."""
    return re.sub(r"([<>*_])", r"\\\1", text)


def man() -> str:
    """Return the man page."""
    lines = [
        '.TH LAB 1 "" "labapi-client" "User Commands"',
        ".SH NAME",
        r"lab \- run test cases on the machines of a lab",
        ".SH SYNOPSIS",
        ".B lab",
        "[options] COMMAND ...",
        ".SH OPTIONS",
        *_items(_of_all()),
        ".SH COMMANDS",
    ]
    found = commands()
    for command in found:
        lines += [f'.SS "{_roff(command.usage)}"']
        for paragraph in command.about:
            lines += [_line(paragraph), ".PP"]
        lines += [*_items(command.options)]
    lines += [".SH OUTPUT", "Lists and shows take these options.", *_items(_of_output(found))]
    lines += [".SH EXIT STATUS", _line(" ".join(STATUS_HELP.split()))]
    lines += [".SH ENVIRONMENT", *_items(ENVIRONMENT)]
    return "\n".join(lines) + "\n"


def _items(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    for spec, text in options:
        yield ".TP"
        yield f".B {_roff(spec)}"
        yield _line(text)


def _line(text: str) -> str:
    """Return text as a line of its own: what looks like a request is none."""
    shown = _roff(text)
    return rf"\&{shown}" if shown[:1] in (".", "'") else shown


def _roff(text: str) -> str:
    return text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("…", "...")


def main() -> None:
    """Write both anew."""
    page, manual = map(Path, sys.argv[1:])
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}{markdown()}{END}{tail}", encoding="utf-8")
    manual.write_text(man(), encoding="utf-8")


if __name__ == "__main__":
    main()
