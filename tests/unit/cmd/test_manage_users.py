"""``labapi-manage user set``: a line that the filter basic reads, and nothing else is touched."""

from __future__ import annotations

import io
import os
import pty
import stat
import subprocess
from pathlib import Path

import bcrypt
import pytest

from labapi.cmd import manage_users
from labapi.cmd.manage_users import COST, LONGEST
from labapi.exceptions import InvalidInput
from labapi_middleware.basic import filter_factory
from labapi_middleware.htpasswd import parse
from labapi_middleware.password_check import LONGEST_PASSWORD
from tests.programs import BIN

COMMAND = [str(BIN / "labapi-manage"), "user", "set"]


def user_set(file: Path, name: str, password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, name, "--file", str(file)],
        input=password,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_new_file_is_for_its_owner_and_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    done = user_set(file, "alice", "wonderland\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{file}: alice is new\n{file} is new, too; only ")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    hashed = parse(file.read_text())["alice"]
    assert hashed.startswith(f"$2b${COST}$")
    assert bcrypt.checkpw(b"wonderland", hashed.encode())
    filter_factory({}, htpasswd_file=str(file))
    assert list(tmp_path.iterdir()) == [file]


def test_other_lines_owner_and_mode_stay(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    other = "bob:$2b$04$" + "a" * 53
    file.write_bytes(f"# ours \u00fc\n{other}\nalice:x\n\n".encode("latin-1"))
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 1234, 2345)
    before = file.stat()
    link = tmp_path / "link"
    link.symlink_to(file)
    assert user_set(link, "alice", "w").stdout == f"{file}: alice has a new password\n"
    assert user_set(file, "carol", "w").returncode == 0
    lines = file.read_bytes().decode("latin-1").split("\n")
    assert lines[:2] == ["# ours \u00fc", other]
    assert lines[2].startswith("alice:$2b$")
    assert (lines[3], lines[4][:8], lines[5:]) == ("", "carol:$2", [""])
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert link.is_symlink()


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [
        ("a b", "x", "cannot be the name of a user"),
        ("alice", "x" * 73, "expected a password of 1 to 72 bytes; nothing is changed"),
    ],
)
def test_what_basic_would_refuse(tmp_path: Path, name: str, password: str, problem: str) -> None:
    done = user_set(tmp_path / "htpasswd", name, password)
    assert done.returncode == 1
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a,b", "a:b", "\u00e4", "#a", "None", "a" * 65, "a\n"])
def test_names_that_basic_would_refuse(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a user"):
        manage_users._checked(name)


@pytest.mark.parametrize("password", ["", "\n", "a\0b", "\u00e4" * 37])
def test_passwords_that_basic_would_refuse(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    with pytest.raises(InvalidInput, match="1 to 72 bytes"):
        manage_users._password("alice")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = user_set(tmp_path / "none" / "htpasswd", "alice", "x")
    assert done.returncode == 1
    assert done.stderr.endswith(f"No such file or directory: '{tmp_path / 'none'}'\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("again", "status"), [("wonderland", 0), ("looking glass", 1)])
def test_at_a_terminal_it_asks_twice(tmp_path: Path, again: str, status: int) -> None:
    file = tmp_path / "htpasswd"
    pid, terminal = pty.fork()
    if not pid:
        os.execv(COMMAND[0], [*COMMAND, "alice", "--file", str(file)])
    seen = b""
    for prompt, answer in ((b"alice: ", "wonderland"), (b"Again: ", again)):
        while prompt not in seen:
            seen += os.read(terminal, 1024)
        os.write(terminal, f"{answer}\n".encode())
    while True:
        try:
            piece = os.read(terminal, 1024)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    os.close(terminal)
    assert b"wonderland" not in seen  # it is not echoed
    assert file.exists() == (status == 0)


def test_the_limits_are_those_of_the_filter() -> None:
    assert LONGEST == LONGEST_PASSWORD
    names = "".join(sorted(manage_users._NAME - {"#"}))
    hashed = "$2b$04$" + "a" * 53
    parse("".join(f"{name}:{hashed}\n" for name in names))
