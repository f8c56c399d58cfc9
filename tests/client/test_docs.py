"""The programs that the pages show, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.client.conftest import Served
from tests.lab import ROOT

PAGE = (ROOT / "docs" / "client.md").read_text()


@pytest.mark.parametrize("page", ["docs/client.md", "client/README.md"])
def test_the_programs_work_as_written(served: Served, page: str) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M)
    assert programs
    done = subprocess.run(
        [sys.executable, "-c", "".join(programs)],
        env={**os.environ, "LABAPI_URL": f"http://127.0.0.1:{served.port}"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Linux\nPASS\n")


def test_the_page_names_the_limits() -> None:
    from labapi_client import TIMEOUT, following, keystone, polling, retries, transport

    rows = dict(re.findall(r"^\| `(\S+?)`.*?\| (.*?) \|$", PAGE.partition("| limit |")[2], re.M))
    assert TIMEOUT == 60
    assert rows["transport.CONNECT_TIMEOUT"].startswith(f"{transport.CONNECT_TIMEOUT:g} s")
    assert rows["retries.ATTEMPTS"].startswith(f"{retries.ATTEMPTS} times; {retries.PAUSE} s")
    assert rows["retries.ATTEMPTS"].endswith(f"at most {retries.MAX_PAUSE:g} s")
    assert rows["retries.SILENT_ATTEMPTS"].startswith(f"{retries.SILENT_ATTEMPTS} times")
    assert rows["retries.MAX_RETRY_AFTER"].startswith(f"{retries.MAX_RETRY_AFTER:g} s")
    assert rows["following.PATIENCE"].startswith(f"{following.PATIENCE:g} s")
    looks = f"{polling.SHORTEST} s to {polling.LONGEST:g} s"
    assert rows["polling.SHORTEST"].startswith(looks)
    assert rows["keystone.TIMEOUT"].startswith(f"{keystone.TIMEOUT:g} s")
    assert rows["transport.MAX_ANSWER"].startswith(f"{transport.MAX_ANSWER >> 20} MiB")
