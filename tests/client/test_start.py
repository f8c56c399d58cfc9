"""What a start costs: nothing is imported that a call does not need."""

from __future__ import annotations

import subprocess
import sys

from tests.client.conftest import Served

PROGRAM = """
import sys
import labapi_client
print(sorted(name for name in sys.modules if name.startswith("labapi_client")))
with labapi_client.connect({url!r}) as lab:
    assert list(lab.slaves.list())
heavy = {{"keystoneauth1", "requests", "yaml", "cliff", "jsonschema", "urllib.request", "asyncio"}}
print(sorted(heavy & set(sys.modules)))
"""


def test_only_what_is_needed_is_imported(served: Served) -> None:
    program = PROGRAM.format(url=f"http://127.0.0.1:{served.port}")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("['labapi_client']\n[]\n", "")
