"""What ran on a guarded host is guarded when the host is off the list."""

from __future__ import annotations

from pathlib import Path

from labapi.db import purge
from tests.functional.test_host_guard import case, set_metadata, start
from tests.lab import HOST, ask


def test_what_ran_on_a_host_that_was_removed_stays_guarded(tmp_path: Path) -> None:
    lab = start(tmp_path)
    try:
        path = f"/testcases/{ask(lab.app, '/testcases?wait=60', case(HOST)).json['id']}"
        set_metadata(lab, {"allow-dev": "192.0.2.1"})
        assert lab.agent is not None
        lab.agent.stop()
        lab.agent = None
        assert lab.database.write(purge.delete_host, HOST)
        assert ask(lab.app, path).status_code == 403
        assert ask(lab.app, "/testcases").json == {"testcases": []}
    finally:
        lab.stop()
