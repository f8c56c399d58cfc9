"""What ``labapi-manage`` imports: the command that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
