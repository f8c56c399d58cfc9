"""What strangers say of themselves does not speak to an operator's terminal."""

from __future__ import annotations

from labapi.cmd.table import plain


def test_escape_sequences_and_new_lines_are_no_text() -> None:
    assert plain("a\x1b[2J\n\r\tb\u202ec é") == "a?[2J???b?c é"
