"""The real application on a socket, and the SDK before it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import labapi_client
from labapi.httpd.threads import Server
from labapi.scheduler import host_manager
from labapi_client.lab import Lab as Client
from tests.client.alone.conftest import no_environment  # noqa: F401
from tests.lab import HOST, Lab, ask
from tests.processes import until


class Served:
    """A lab whose API listens on loopback.

    :ivar port: where
    """

    def __init__(self, folder: Path, **options: object) -> None:
        self.lab = Lab(folder, **options).start()
        self._server = Server(
            *(("127.0.0.1", 0), self.lab.app),
            threads=20,
            max_body=1 << 20,
            keepalive=30.0,
            receive_timeout=30.0,
            stop_timeout=1.0,
        )
        self._server.listen()
        self.port: int = self._server.bind_addr[1]
        threading.Thread(target=self._server.serve, daemon=True).start()
        self._found = self._shared()

    def _shared(self) -> dict[str, Any]:
        """Return what one test could leave to the next one."""
        app = self.lab.app
        host = ask(app, f"/slaves/{HOST}").json
        states = ("queued", "running", "cancelling")
        return {
            "groups": ask(app, "/groups").json["groups"],
            "leases": ask(app, "/leases?state=active").json["leases"],
            "cases": [ask(app, f"/testcases?state={state}").json for state in states],
            **{name: host[name] for name in ("metadata", "health", "status")},
        }

    def require_as_found(self) -> None:
        """Check that the lab is as it was before any test; cases have time to end."""
        with contextlib.suppress(AssertionError):
            until(lambda: self._shared() == self._found)
        assert self._shared() == self._found

    def stop(self) -> None:
        """Stop everything."""
        self.lab.backend.waiters.let_go()
        self._server.stop()
        self.lab.stop()


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return the lab of all tests of a process."""
    with pytest.MonkeyPatch.context() as patch:
        # What a test changes of a host counts at once, also where reading the hosts takes long.
        patch.setattr(host_manager, "SHARE", 1e9)
        running = Served(tmp_path_factory.mktemp("lab"))
        yield running
        running.stop()


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    """Return a lab in which nothing is left of other tests; one that leaves something fails."""
    yield shared
    shared.require_as_found()


@pytest.fixture
def lab(served: Served) -> Iterator[Client]:
    """Return the SDK's lab."""
    with labapi_client.connect(f"http://127.0.0.1:{served.port}") as lab:
        yield lab
