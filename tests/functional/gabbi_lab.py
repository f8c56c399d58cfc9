"""How the gabbits reach a lab: the same files run over every backend."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gabbi import fixture

from tests.lab import Lab

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

GABBITS = str(Path(__file__).with_name("gabbits"))

_running: list[Lab] = []


class EmbeddedLab(fixture.GabbiFixture):
    """A fresh lab on SQLite and the in-process broker for one file of tests."""

    def options(self) -> dict[str, Any]:
        """Return the options that say where the lab's servers are."""
        return {}

    def start_fixture(self) -> None:
        """Start the lab."""
        self.folder = tempfile.TemporaryDirectory(prefix="labapi-test-")
        _running.append(Lab(Path(self.folder.name), **self.options()).start())

    def stop_fixture(self) -> None:
        """Stop it."""
        _running.pop().stop()
        self.folder.cleanup()


def intercept() -> Any:
    """Return an application that is the running lab's."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return _running[-1].app(environ, start_response)

    return app
