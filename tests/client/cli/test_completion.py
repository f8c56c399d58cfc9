"""Completion: the words, where they come from, and the three shells."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from tests.client.cli.conftest import Type
from tests.lab import HOST
from tests.processes import free_port, until
from tests.programs import BIN

Complete = Callable[..., set[str]]


@pytest.fixture
def complete(type_: Type, tmp_path: Path) -> Complete:
    """Return a function that returns what may stand at the end of a line.

    Of the lab it says nothing where that takes longer than 300 ms to answer.
    """

    def words(line: str, **environment: str) -> set[str]:
        file = tmp_path / "words"
        subprocess.run(
            [BIN / "lab"],
            env={
                **os.environ,
                "_ARGCOMPLETE": "1",
                "_ARGCOMPLETE_IFS": "\n",
                "_ARGCOMPLETE_STDOUT_FILENAME": str(file),
                "COMP_LINE": line,
                "COMP_POINT": str(len(line)),
                **environment,
            },
            check=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return {word.strip() for word in file.read_text().split("\n")} - {""}

    return words


def knows(complete: Complete, **environment: str) -> bool:
    """Complete the name of a host; say whether the lab has answered in time."""
    found = complete("lab slave show ", **environment)
    assert found in ({HOST}, set())
    return bool(found)


@pytest.fixture
def kept(complete: Complete, tmp_path: Path) -> Path:
    """Return the file of the words that the lab has said."""
    until(lambda: knows(complete))
    (file,) = (tmp_path / "cache" / "labapi").iterdir()
    return file


def test_commands(complete: Complete) -> None:
    assert {"slave", "testcase", "service", "run"} <= complete("lab ")
    assert complete("lab sl") == {"slave"}
    assert {"list", "show", "set", "unset"} <= complete("lab slave ")
    assert complete("lab slave sh") == {"show"}
    assert not any("None" in word for word in complete("lab slave ", _ARGCOMPLETE_SHELL="zsh"))


def test_options(complete: Complete) -> None:
    assert {"--format", "--long", "--url"} <= complete("lab slave list --")
    assert complete("lab slave list -f ") == {"csv", "json", "table", "value", "yaml"}


def test_hosts_plugins_and_methods(complete: Complete, kept: Path) -> None:
    assert complete("lab slave show ") == {HOST}
    assert complete("lab run la") == {HOST}
    assert complete("lab testcase run --host ") == {HOST}
    assert complete(f"lab testcase run --host {HOST} ") >= {"linux_system", "http"}
    assert complete("lab testcase run linux_system r") == {"run_shell"}


def test_words_are_kept_for_when_the_lab_is_away(complete: Complete, kept: Path) -> None:
    assert kept.stat().st_mode & 0o077 == 0
    # For a minute, nobody is asked; then the lab is, and is away.
    os.utime(kept, (0, 0))
    kept.rename(kept.with_name("words"))
    away = f"http://127.0.0.1:{free_port()}"
    assert complete("lab slave show ", LABAPI_URL=away) == set()
    kept.with_name("words").rename(kept)

    def is_new() -> bool:
        assert knows(complete)
        return time.time() - kept.stat().st_mtime < 3600

    until(is_new, what="another question")


def test_a_cache_that_cannot_be_used(complete: Complete, kept: Path, tmp_path: Path) -> None:
    for content in ("[1]", "no JSON"):
        kept.write_text(content)
        until(lambda: knows(complete))
    kept.write_text('{"a": 1}')
    assert complete("lab slave show ") == {"a"}
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file")
    until(lambda: knows(complete, XDG_CACHE_HOME=nowhere))


def test_names_that_are_no_words(complete: Complete, kept: Path) -> None:
    names = ("good", "$(reboot)", "a b", "a\x1b[31m", "--url", "`id`", "a;b", "a\nb", "")
    kept.write_text(json.dumps({name: {} for name in names}))
    assert complete("lab slave show ") == {"good"}


def test_a_keystone_that_is_silent_is_not_waited_for(complete: Complete) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        auth_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        who = dict.fromkeys(("OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME"), "x")
        begun = time.monotonic()
        assert complete("lab slave show ", LABAPI_URL="", OS_AUTH_URL=auth_url, **who) == set()
        assert time.monotonic() - begun < 15  # Keystone itself is waited for for 30 s


def test_a_file_is_completed_by_the_shell(type_: Type, tmp_path: Path) -> None:
    (tmp_path / "my-plan.yaml").touch()
    child = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "> "},
        cwd=str(tmp_path),
        timeout=60,
        encoding="utf-8",
        dimensions=(24, 200),
    )
    try:
        child.sendline("""eval "$(lab complete)"; echo re''ady""")
        child.expect("ready")
        child.send("lab plan run my-\t")
        child.expect_exact("lab plan run my-plan.yaml")
    finally:
        child.close(force=True)


SHELLS = {
    "bash": (("bash", "--norc", "--noprofile", "-i"), 'eval "$(lab complete)"'),
    "zsh": (
        ("zsh", "-f", "-i"),
        'autoload -Uz compinit && compinit -u -D && eval "$(lab complete --shell zsh)"',
    ),
    "fish": (("fish", "--no-config", "-i"), "lab complete --shell fish | source"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes(shell: str, kept: Path, tmp_path: Path) -> None:
    argv, setup = SHELLS[shell]
    child = pexpect.spawn(
        argv[0],
        list(argv[1:]),
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "PS1": "> ",
        },
        timeout=60,
        encoding="utf-8",
        dimensions=(24, 200),
    )
    try:
        child.sendline(f"{setup}; echo re''ady")
        child.expect("ready")
        child.send("lab slave show la\t")
        child.expect(f"lab slave show {HOST}")
        child.sendline(" -f value -c host -c id; echo en''ded")
        child.expect("ended")
        assert HOST in child.before
    finally:
        child.close(force=True)
