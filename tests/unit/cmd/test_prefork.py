"""A parent whose worker fails to start."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import os, sys
from labapi.cmd import prefork
import logging
logging.basicConfig(format="%(message)s")
def work():
    os.write(1, b"began\\n")
    raise SystemExit(1)
prefork.run(1, work, 1.0, lambda: True)
"""


def test_starts_that_fail_back_off() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stderr is not None
        said = ""
        while "the next in 4 s" not in said:
            said += parent.stderr.readline()
        assert "the next in 1 s" in said
        assert "the next in 2 s" in said
        parent.send_signal(signal.SIGTERM)  # in the middle of the pause
        begun, _ = parent.communicate(timeout=60)
        assert parent.returncode == 0
    assert begun.count("began") == 3
