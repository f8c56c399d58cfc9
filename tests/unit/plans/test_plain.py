from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.plans.plain import fit, line, plain, width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b(Bplain\x1bc", "plain"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;never ends", ""),
        ("10 %\r20 %\r\nend\n", "10 %\n20 %\nend\n"),
        ("a\x00b\x08c\x0cd\x7f", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("half \ud800 of a pair", "half \ufffd of a pair"),
        ("\u202egnitirw", "\ufffdgnitirw"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_what_would_speak_to_a_terminal_is_gone(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_a_line() -> None:
    assert line(" two\n\x1b[1mlines\t") == "two lines"


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_whatever_it_is_xml_can_say_it(text: str) -> None:
    element = ElementTree.Element("x")
    element.text = plain(text)
    assert "\x1b" not in plain(text)
    ElementTree.fromstring(ElementTree.tostring(element, "utf-8"))


@given(st.text(max_size=40), st.integers(1, 30))
def test_it_fits(text: str, columns: int) -> None:
    assert width(fit(line(text), columns)) == columns


def test_wide_characters_take_two_columns() -> None:
    assert width("\u6e2c\u8a66") == 4
    assert fit("\u6e2c\u8a66", 3) == "\u6e2c\u2026"
    assert fit("\u6e2c\u8a66", 2) == "\u2026 "
