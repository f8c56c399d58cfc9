"""What ``docs/deploy.md`` says is to be typed, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import ROOT

PAGE = ROOT / "docs" / "deploy.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = r"`[\w.-]+`"
_NAMES = rf"{_NAME}(?:(?:, | and ){_NAME})*"
# "… On `lab-7` and `lab-8`, once for each:", at the end of the paragraph above a block
_TYPED = re.compile(rf"\b[Oo]n ({_NAMES})(?:, [^`:.]*)?:$")
_FILE = re.compile(rf"(At the end of )?`(/[^`]+)` on ({_NAMES}):$")


@dataclass(frozen=True)
class Block:
    """A block of the page.

    :ivar section: the heading that it stands below
    :ivar machines: where it is typed
    :ivar text: the commands, or what is in the file
    :ivar file: the path of the file; None for commands
    :ivar added: the text goes to the end of the file
    """

    section: str
    machines: tuple[str, ...]
    text: str
    file: str | None = None
    added: bool = False


def read(page: Path = PAGE) -> list[Block]:
    """Return the blocks that are typed."""
    blocks: list[Block] = []
    for part in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]:
        section, _, text = part.partition("\n")
        blocks.extend(_blocks(section, text))
    return blocks


def _blocks(section: str, text: str) -> Iterator[Block]:
    for found in _FENCE.finditer(text):
        above = text[: found.start()].rstrip().rpartition("\n")[2]
        if file := _FILE.search(above):
            added, path, machines = file.groups()
            yield Block(section, _split(machines), found[2], path, bool(added))
        elif found[1] == "sh" and (typed := _TYPED.search(above)):
            yield Block(section, _split(typed[1]), found[2])
        elif re.match(r"\d", section) and found[1] == "sh":
            raise AssertionError(f"{section}: nothing says where to type\n{found[2]}")


def _split(machines: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", machines))
