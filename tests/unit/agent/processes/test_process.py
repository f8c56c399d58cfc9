"""A process is started: which program, with what it inherits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi.agent.errors import CannotStart
from labapi.agent.processes.process import Child, Command
from labapi.agent.processes.tree import Tree


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree("attempt")
    yield tree
    tree.end(0)
    tree.close()


def run(tree: Tree, command: Command) -> tuple[int | None, str]:
    """Run a command; return its status and its output."""
    said = bytearray()
    child = Child(command, tree, said.extend)
    try:
        while not child.over:
            child.pump(float("inf"))
    finally:
        child.close()
    return child.status, said.decode()


def program(folder: Path, text: str, mode: int = 0o755) -> None:
    folder.mkdir(parents=True)
    file = folder / "tool"
    file.write_text(text)
    file.chmod(mode)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("{a}/right:{a}/other", "right"),
        ("{a}/missing:{a}/right", "right"),
        ("{a}/folder:{a}/right", "right"),
        ("{a}/not-executable:{a}/right", "right"),
        ("{a}/no-format:{a}/right", "right"),
        ("{a}/right/tool:{a}/right", "right"),  # no folder
        ("right:{a}/other", "right"),  # of the folder in which it starts
        (":{a}/other", "here"),
        ("{a}/missing", "No such file or directory"),
        ("{a}/not-executable:{a}/missing", "Permission denied"),
        ("{a}/no-format", "Exec format error"),
        ("", "No such file or directory"),
    ],
)
def test_a_bare_name_is_looked_for_in_path(
    tree: Tree, tmp_path: Path, path: str, answer: str
) -> None:
    for name in ("right", "other"):
        program(tmp_path / name, f"#!/bin/sh\necho {name}\n")
    program(tmp_path / "not-executable", "#!/bin/sh\necho wrong\n", 0o644)
    program(tmp_path / "no-format", "")
    (tmp_path / "folder" / "tool").mkdir(parents=True)
    env = {"PATH": path.format(a=tmp_path)}
    if answer == "here":
        (tmp_path / "tool").symlink_to("/bin/true")
        assert run(tree, Command(["tool"], str(tmp_path), env)) == (0, "")
    elif answer in ("right", "other"):
        assert run(tree, Command(["tool"], str(tmp_path), env)) == (0, f"{answer}\n")
    else:
        with pytest.raises(CannotStart, match=f"^'tool' cannot be started: {answer}$") as raised:
            run(tree, Command(["tool"], str(tmp_path), env))
        assert isinstance(raised.value.__cause__, OSError)


def test_a_process_inherits_three_descriptors(tree: Tree, tmp_path: Path) -> None:
    inheritable = os.open("/", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        for stdin, first in ((None, "/dev/null"), (b"text", "/memfd:stdin (deleted)")):
            command = Command(["ls", "-lA", "/proc/self/fd"], "/", dict(os.environ), stdin)
            status, said = run(tree, command)
            links = [line.rpartition(" -> ")[2] for line in said.splitlines()[1:]]
            assert status == 0
            # The last is the folder that ls itself reads.
            assert [links[0], len(links), links[1]] == [first, 4, links[2]]
            assert links[1].startswith("pipe:")
    finally:
        os.close(inheritable)


def test_descriptors_are_given_back(tree: Tree, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for stdin in (None, b"text"):
        run(tree, Command(["true"], "/", dict(os.environ), stdin))
        with pytest.raises(CannotStart):
            run(tree, Command(["/nonexistent"], "/", dict(os.environ), stdin))
        with pytest.raises(CannotStart):
            run(tree, Command(["true\0"], "/", dict(os.environ), stdin))
    assert len(os.listdir("/proc/self/fd")) == before
