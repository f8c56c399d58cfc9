"""The curl lines of README and API reference, typed as they stand."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import ROOT, until
from tests.programs import Program, curl, free_port

PAGES = ("README.md", "docs/api.md")
PORT = "8774"


def lines() -> list[tuple[str, str]]:
    """Return the shell blocks of the pages that call the API."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.S | re.M):
            assert PORT in block, f"{page}: a shell block that this test cannot run: {block}"
            found.append((page, block))
    return found


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("docs")
    number = free_port()
    program = Program(
        "labapi-all", "--state-path", str(folder), "--api-port", str(number), log=folder / "log"
    )
    program.says("listens on")
    # The facts come a second after the host; the pages ask for what is in them.
    agents = f"http://127.0.0.1:{number}/v2.1/services?binary=labapi-agent"
    until(lambda: any(agent["facts"] for agent in curl(agents)["services"]))
    yield number
    assert program.stop() == 0


@pytest.mark.parametrize(("page", "block"), lines(), ids=lambda text: text.split("\n")[0][:60])
def test_it_works_as_written(port: int, page: str, block: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.replace(PORT, str(port))],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if "linux_sistem" in block:
        assert "did you mean 'linux_system'?" in answer["badRequest"]["message"]
    else:
        assert not set(answer) & {"badRequest", "itemNotFound", "computeFault"}, answer
    if "wait=30" in block:
        for case in answer.get("testcases", [answer]):
            assert (case["state"], case["result"]) == ("finished", "PASS")
