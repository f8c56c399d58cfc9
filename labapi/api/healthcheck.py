"""A Paste application for load balancers: whether this process should be sent requests.

``[app:healthcheck]``
    ``use = egg:labapi#healthcheck``

    ``required = database``
        Without which of these the answer is 503: ``database``, ``broker``, both (with a comma), or
        nothing. Without the broker cases are taken all the same, and wait in the database.

It needs no identity, so it tells little, and asks the database now and then only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import text

from labapi.api.app import current_backend
from labapi.api.backend.backend import Backend
from labapi.db.allowance import Allowance
from labapi.db.session import Database
from labapi.exceptions import Unavailable
from labapi.pipeline.contract import OptionError, described

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PARTS = ("database", "broker")
KEPT = 2.0  # seconds until the database is asked again
PATIENCE = 2.0  # seconds to wait for its answer


class Healthcheck:
    """Answers one line for each part, and 503 if one is away that is required.

    :param required: which of :data:`PARTS` are
    """

    def __init__(self, behind: Backend, required: Iterable[str]) -> None:
        self._behind = behind
        self._required = frozenset(required)
        self._database = _Asked(behind.database)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer GET and HEAD alike; the server leaves out the body of the latter."""
        draining = self._behind.draining.is_set()
        there = {"database": self._database.answers(), "broker": self._behind.waiters.listens}
        well = not draining and all(there[part] for part in self._required)
        lines = [f"api: {'draining' if draining else 'ok'}"]
        lines += [f"{part}: {'ok' if there[part] else 'away'}" for part in PARTS]
        body = "".join(f"{line}\n" for line in lines).encode()
        headers = [
            ("Content-Type", "text/plain"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        start_response("200 OK" if well else "503 Service Unavailable", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class _Asked:
    """Whether a database answers, as it was some seconds ago at most."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._answered = False

    def answers(self) -> bool:
        """Ask it, unless that was done a moment ago."""
        with self._lock:
            if time.monotonic() - self._asked > KEPT:
                try:
                    with Allowance(PATIENCE):
                        self._database.read(lambda connection: connection.execute(text("SELECT 1")))
                    self._answered = True
                except Unavailable:
                    self._answered = False
                self._asked = time.monotonic()
            return self._answered


def _required(local_conf: Mapping[str, str]) -> list[str]:
    """Return the parts that an option names.

    :raises OptionError: it is another option, or names something else
    """
    for option in local_conf:
        if option != "required":
            raise OptionError("healthcheck", option, "there is no such option; known: required")
    named = [part.strip() for part in local_conf.get("required", "database").split(",")]
    for part in filter(None, named):
        if part not in PARTS:
            expected = f"expected {', '.join(PARTS)} or nothing, not {part[:64]!r}"
            raise OptionError("healthcheck", "required", expected)
    return [part for part in named if part]


def _check(global_conf: Mapping[str, str], **local_conf: str) -> None:
    _required(local_conf)


@described(_check)
def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> WSGIApplication:
    """Return the application that a section describes.

    :raises OptionError: an option that is unknown or cannot be used
    """
    return Healthcheck(current_backend(), _required(local_conf))
