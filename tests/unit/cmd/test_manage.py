"""What ``labapi-manage`` imports, the command that runs, and what it says without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labapi.cmd.manage import Manage

PROGRAM = """
import sys
from labapi.cmd.manage import Manage
assert Manage().run(["key", "create", sys.argv[1]]) == 0
print(sorted({"alembic", "sqlalchemy", "kombu", "webob", "pymysql"} & set(sys.modules)))
"""


def test_only_what_the_command_needs_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "conductor.key")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines()[-1:], done.stderr) == (["[]"], "")


@pytest.mark.parametrize("options", [[], ["--state-path", "labapi"]])
def test_without_a_command_it_says_how_it_is_used(
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["labapi-manage", *options])
    with pytest.raises(SystemExit) as ended:
        Manage().run(options)
    assert ended.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("usage: labapi-manage ")
    assert err.endswith("labapi-manage: there is no command; 'labapi-manage help' lists them\n")


def test_output_that_nobody_reads_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from labapi.cmd.manage import main; main()"
    for command in (["db", "history"], ["complete"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (141, "")
    os.close(writer)
