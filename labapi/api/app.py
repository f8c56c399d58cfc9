"""The API's application, as Paste asks for it.

Paste hands strings to a factory and nothing else. What the application needs besides them (the
configuration, the database, the broker) is the *backend*, which the program sets while it has
Paste build the pipeline.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oslo_config import cfg

from labapi.api.backend.beat import Beat
from labapi.api.backend.hints import Hints
from labapi.api.backend.waiters import Waiters
from labapi.api.controllers.health import Health
from labapi.api.controllers.limits import Limits
from labapi.api.controllers.metadata import Metadata
from labapi.api.controllers.outputs import Outputs
from labapi.api.controllers.services import Services
from labapi.api.controllers.slaves import Slaves
from labapi.api.controllers.testcases import TestCases
from labapi.api.policy import Policy
from labapi.api.router import Router
from labapi.api.routes import ROUTES
from labapi.api.versions import Versions
from labapi.db.session import Database
from labapi.pipeline.contract import CONTEXT, Need, described, no_options
from labapi.rpc.transport import Transport
from labapi.servicegroup import driver
from labapi.servicegroup.driver import Liveness


@dataclass(frozen=True)
class Backend:
    """What stands behind the API in one process."""

    conf: cfg.ConfigOpts
    transport: Transport
    database: Database
    policy: Policy
    hints: Hints
    waiters: Waiters
    beat: Beat
    liveness: Liveness

    @classmethod
    def of(cls, conf: cfg.ConfigOpts, transport: Transport, database: Database) -> Backend:
        """Return a backend that is not started."""
        return cls(
            conf,
            transport,
            database,
            Policy(conf),
            Hints(transport),
            Waiters(transport),
            Beat(conf, database),
            driver.load(conf),
        )

    def start(self) -> None:
        """Start the threads; after a fork, in the process that serves."""
        self.hints.start()
        self.waiters.start()
        self.beat.start()

    def stop(self) -> None:
        """Stop the threads and close the connections."""
        self.beat.stop()
        self.waiters.stop()
        self.hints.stop()
        self.liveness.close()
        self.database.close()

    def controllers(self) -> dict[str, Any]:
        """Return the objects that the table of routes names."""
        return {
            "versions": Versions(),
            "slaves": Slaves(self.conf, self.database, self.policy, self.liveness),
            "metadata": Metadata(self.database, self.policy),
            "testcases": TestCases(
                self.conf, self.database, self.policy, self.hints, self.waiters, self.liveness
            ),
            "outputs": Outputs(self.conf, self.database, self.policy, self.waiters),
            "services": Services(self.database, self.policy, self.liveness),
            "limits": Limits(),
            "health": Health(self.database, self.transport, self.policy),
        }


_current: contextvars.ContextVar[Backend] = contextvars.ContextVar("backend")


@contextlib.contextmanager
def backend(value: Backend) -> Iterator[None]:
    """Let applications that Paste builds meanwhile use this backend."""
    token = _current.set(value)
    try:
        yield
    finally:
        _current.reset(token)


_check = no_options("api")


@described(_check, Need(CONTEXT))
def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> Router:
    """Return the application of ``/v2.1``; it takes no options.

    :raises RuntimeError: outside :func:`backend`
    """
    _check(global_conf, **local_conf)
    behind = _current.get(None)
    if behind is None:
        raise RuntimeError("the API is built by labapi.api.load.load, not by Paste alone")
    return Router(ROUTES, behind.controllers())
