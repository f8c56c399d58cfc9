"""docs/cli.md: its reference is what the parsers say, and its tour is typed in a real terminal.

So is what README.md has of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from labapi_client.cli import reference
from tests.client.cli.conftest import Type
from tests.client.conftest import Served
from tests.lab import ROOT
from tests.programs import BIN

PAGE = (ROOT / "docs" / "cli.md").read_text()
README = (ROOT / "README.md").read_text()
PROMPT = "tour> "
TIMEOUT = 90


def test_the_reference_is_what_the_parsers_say() -> None:
    written = PAGE.partition(reference.BEGIN)[2].partition(reference.END)[0]
    assert written == reference.markdown(), "run make samples"


def test_the_man_page_is_what_the_parsers_say() -> None:
    assert (ROOT / "client" / "lab.1").read_text() == reference.man(), "run make samples"


def test_every_command_says_what_it_is_for() -> None:
    for command in reference.commands():
        assert command.about, command.name
        for spec, text in command.options:
            assert text, f"{command.name} {spec}"


def tour() -> list[tuple[str, list[str]]]:
    """Return the commands of the pages, each with what is printed after it."""
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```", README + PAGE, re.S | re.M):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            else:
                steps[-1][1].append(line)
    return steps


@pytest.fixture
def bash(served: Served, type_: Type, tmp_path: Path) -> Iterator[pexpect.spawn]:
    for text, name in re.findall(r"^```yaml\n(# (\S+)\n.*?)^```", PAGE, re.S | re.M):
        (tmp_path / name).write_text(text)
    child = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "--noediting"],
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PS1": PROMPT,
            "TERM": "xterm",
            "PROMPT_COMMAND": "",
        },
        cwd=str(tmp_path),
        timeout=TIMEOUT,
        encoding="utf-8",
        dimensions=(24, 250),
    )
    child.setecho(False)
    child.expect_exact(PROMPT)
    yield child
    child.close(force=True)


def seen(text: str) -> list[str]:
    """Return lines as they stand on the screen, and what differs each time made equal."""
    text = re.sub(r"\r\x1b\[K[^\r\n]*(?=\r\x1b\[K)", "", text).replace("\r\x1b[K", "")
    text = re.sub(r"\r?\x1b\[[?0-9;]*[A-Za-z]", "", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d+\.\d s\b", "TIME", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "LAB", text)
    return [line.rstrip() for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def pattern(lines: list[str]) -> str:
    """Return an expression for lines; … stands for anything."""
    return "\n".join(re.escape(line).replace("…", ".*") for line in lines)


def test_the_tour_in_a_terminal(bash: pexpect.spawn) -> None:
    steps = tour()
    assert len(steps) > 15
    for command, expected in steps:
        before = ""
        bash.sendline(command)
        if expected and expected[0] == "^C":
            before = interrupt(bash, expected[1])
            expected = expected[1:]
        bash.expect_exact(PROMPT)
        shown = "\n".join(seen(before + bash.before))
        wanted = pattern(seen("\n".join(expected)))
        assert re.fullmatch(wanted, shown, re.DOTALL), f"$ {command}\n{shown}"


def interrupt(bash: pexpect.spawn, question: str) -> str:
    """Press Ctrl-C while a case runs, and answer as the page does; return what was seen so far."""
    bash.expect(r"\d+ s: ")
    bash.sendintr()
    bash.expect(r"Cancel case .*?\[y/N.*?\] ")
    asked = f"{bash.after}"
    answer = question.rpartition("] ")[2]
    if answer == "^C":
        bash.sendintr()
        bash.expect_exact("\r\n")  # of the terminal, behind its ^C
        return f"{asked}^C\r\n"
    bash.sendline(answer)
    return f"{asked}{answer}\r\n"


def test_a_command_of_a_third_party(type_: Type, tmp_path: Path) -> None:
    part = PAGE.partition("## A command of your own")[2]
    for text in re.findall(r"^```python\n(.*?)^```", part, re.S | re.M):
        name = re.match(r"# (\S+)\n", text)
        assert name is not None
        (tmp_path / name[1]).write_text(text)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=60,
    )

    def lab(*words: str) -> str:
        return subprocess.run(
            [str(BIN / "lab"), *words],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    assert lab("rack", "list", "-f", "value") == "? 1\n"
    assert re.search(r"rack list +List racks, and how many machines stand in each", lab("help"))
    assert "--url" in lab("help", "rack", "list")
