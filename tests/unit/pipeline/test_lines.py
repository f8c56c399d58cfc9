"""Lines that are read as something else than they look are named, with their numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from labapi.pipeline.check.file import LARGEST
from tests.unit.pipeline.shipped import SHIPPED, edited, findings, said

INDENTED = "is indented, so it is a part of"


def line(words: str, text: str) -> int:
    """Return the number of the last line that begins with these words."""
    lines = enumerate(text.split("\n"), 1)
    return max((n for n, line in lines if line.strip().startswith(words)), default=0)


MISTAKES = {
    "an indented option": (
        ("\nrule_all =", "\n rule_all ="),
        "rule_all",
        "[filter:ratelimit]: storage: line {}: 'rule_all' " + INDENTED + " 'storage' above; take"
        " away the blanks or tabs before it",
    ),
    "an option after a tab": (
        ("\nrule_all =", "\n\trule_all ="),
        "rule_all",
        "[filter:ratelimit]: storage: line {}: 'rule_all' " + INDENTED + " 'storage' above",
    ),
    "an indented section": (
        ("\n[filter:proxy]", "\n [filter:proxy]"),
        "[filter:proxy]",
        "[filter:faultwrap]: use: line {}: '[filter:proxy]' " + INDENTED + " 'use' above",
    ),
    "a section without its closing bracket": (
        ("[filter:proxy]", "[filter:proxy"),
        "[filter:proxy",
        "[filter:faultwrap]: line {}: '[filter:proxy' has no closing bracket",
    ),
    "a section without its opening bracket": (
        ("[filter:proxy]", "filter:proxy]"),
        "filter:proxy]",
        "[filter:faultwrap]: line {}: 'filter:proxy]' has no opening bracket",
    ),
    "an option behind a section": (
        ("[filter:proxy]\nuse", "[filter:proxy] use"),
        "[filter:proxy]",
        "[filter:proxy]: line {}: what stands behind the closing bracket is not read",
    ),
    "a section with two brackets": (
        ("[filter:proxy]", "[[filter:proxy]"),
        "[[filter:proxy",
        "[[filter:proxy]: line {}: '[[filter:proxy]' has more brackets than one before the name",
    ),
    "a filter that is not indented": (
        ("\n    sizelimit\n", "\nsizelimit\n"),
        "sizelimit",
        "[pipeline:v2.1]: pipeline: line {}: 'sizelimit' is neither a section nor an option",
    ),
    "an option twice": (
        ("storage = memory://", "rule_all = * *: 1 per day per user\nstorage = memory://"),
        "rule_all",
        "[filter:ratelimit]: rule_all: line {}: the option stands twice in this section, first in"
        " line ",
    ),
    "a control character": (
        ("allow =", "allow = \x1b[31m"),
        "allow = \x1b",
        "line {}: the character '\\x1b' cannot be seen; remove it",
    ),
    "a NUL": (
        ("egg:labapi#api", "config:a\0b"),
        "use = config:a",
        "line {}: the character '\\x00'",
    ),
    "a mark in the middle": (("allow =", "\ufeffallow ="), "allow =", "the character '\\ufeff'"),
    "Latin-1": (
        ("application\nallow =", "application\nallow = M\udcfcller"),
        "allow = M",
        "line {}: the byte 0xfc is not",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(tmp_path: Path, name: str) -> None:
    change, words, expected = MISTAKES[name]
    text = edited(change)
    found = said(text, tmp_path)
    assert any(expected.format(line(words, text)) in said for said in found), found
    assert all(finding.fatal for finding in findings(text, tmp_path))
    assert "".join(found).isprintable()


def test_a_byte_order_mark(tmp_path: Path) -> None:
    (found,) = said(f"\ufeff{SHIPPED}", tmp_path)
    assert found == "line 1: the file begins with a byte order mark; save it as UTF-8 without one"


@pytest.mark.parametrize(
    "wrong", ["allow" + " " * 100_000 + "x", "[" * 100_000, "allow = " + "9," * 9999]
)
def test_a_line_that_is_too_long(tmp_path: Path, wrong: str) -> None:
    text = edited(("allow =\n", f"{wrong}\n"))
    (found, *_) = said(text, tmp_path)
    assert f"line {line(wrong[:100], text)}: the line has more than 4096 characters; " in found


def test_a_finding_is_never_long(tmp_path: Path) -> None:
    (found,) = said(edited(("allow =\n", "allow =" + "\n    10.0.0.1/99" * 1000 + "\n")), tmp_path)
    assert len(found) < 1100
    assert found.startswith("[filter:ip_whitelist]: allow: '")


def test_names_that_multiply_are_counted_and_not_put_in(tmp_path: Path) -> None:
    lines = ["a0 = ten chars.", *(f"a{n} = " + 20 * f"%(a{n - 1})s" for n in range(1, 10))]
    text = "[DEFAULT]\n" + "\n".join(lines) + "\n\n" + edited()
    found = said(text, tmp_path)
    assert (
        "[DEFAULT]: a3: with what %(name)s puts into it, it has more than 65536 characters" in found
    )
    assert not [finding for finding in found if ": a2:" in finding]


def test_no_section_is_missed_in_every_line(tmp_path: Path) -> None:
    (found,) = said("root:x:0:0\n" * 100, tmp_path)
    assert found == "line 1: expected a section first, such as [composite:main]"


def test_a_section_without_its_bracket_is_the_only_mistake(tmp_path: Path) -> None:
    assert len(said(edited(("[filter:proxy]", "[filter:proxy")), tmp_path)) == 1


def test_all_of_them_are_found_at_once(tmp_path: Path) -> None:
    changes = (MISTAKES[name][0] for name in ("an indented option", "an indented section"))
    assert len(said(edited(*changes), tmp_path)) == 2


@pytest.mark.parametrize(
    "text",
    [
        SHIPPED.replace("\n", "\r\n"),
        SHIPPED.replace("[filter:proxy]", "[filter:proxy]  # whom to believe"),
        SHIPPED.replace("allow =\n", "allow = 10.0.0.0/8,\n    10.1.0.0/16,\n\t192.0.2.7\n"),
        SHIPPED.replace("allow =\n", "allow =\n    # the lab = here\n    10.0.0.0/8\n"),
        SHIPPED.replace("[filter:sizelimit]\n", "[filter:sizelimit]\n  # indented, all of it\n"),
        SHIPPED.replace("# Outermost first.", "# L\u2019ordre \u00fcberall, \u200b\x07"),
    ],
)
def test_what_is_in_order(tmp_path: Path, text: str) -> None:
    assert said(text, tmp_path) == []


def test_a_file_that_is_none(tmp_path: Path) -> None:
    named = ("egg:labapi#api", f"config:{tmp_path}")
    found = said(edited(named), tmp_path)
    assert f"[app:api]: use: {tmp_path}: this is not a file" in found
    large = "#" * (LARGEST + 1)
    assert said(large, tmp_path) == [f"a Paste file has at most {LARGEST} bytes"]
    assert said(edited(("egg:labapi#api", "config:a%00b")), tmp_path)
