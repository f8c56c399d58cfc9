"""The shipped Paste file, edited, and what the check says of it."""

from __future__ import annotations

from pathlib import Path

from labapi.pipeline.check import check
from labapi.pipeline.check.finding import Finding
from tests.lab import ROOT

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()
GIVEN = {"listen": "127.0.0.1:8774"}


def findings(text: str, folder: Path, server: dict[str, str] | None = None) -> tuple[Finding, ...]:
    """Return what is found in a file of this text."""
    file = folder / "api-paste.ini"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    return check.examine(str(file), GIVEN, server or {}).findings


def said(text: str, folder: Path, server: dict[str, str] | None = None) -> list[str]:
    """Return the same as lines, without the name of the file."""
    return [
        str(finding).removeprefix(f"{folder}/api-paste.ini: ")
        for finding in findings(text, folder, server)
    ]


def edited(*changes: tuple[str, str], text: str = SHIPPED) -> str:
    """Return the shipped file with other words in it."""
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    return text
