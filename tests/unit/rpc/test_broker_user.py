"""The calls of rabbitmqctl that make an agent's user."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from labapi.rpc.broker_user import Step


@pytest.mark.parametrize("word", ["it's", "a b", "$HOME", "`id`", "", "^$", "\n", "\\"])
def test_a_shell_reads_a_printed_word_as_it_is(word: str) -> None:
    line = str(Step(("set_user_tags", word)))
    assert shlex.split(line) == ["rabbitmqctl", "set_user_tags", word]
    shown = subprocess.run(
        ["sh", "-c", line.replace("rabbitmqctl set_user_tags", "printf %s", 1)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stdout == word
