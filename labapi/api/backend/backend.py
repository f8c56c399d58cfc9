"""What all requests of one process share, as one object."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from oslo_config import cfg

from labapi.api import policy
from labapi.api.access import Policy
from labapi.api.backend.beat import Beat
from labapi.api.backend.hints import Hints
from labapi.api.backend.keys import ConductorKeys
from labapi.api.backend.output import Reader
from labapi.api.backend.waiters import Waiters
from labapi.db.session import Database
from labapi.rpc.transport import Transport
from labapi.scheduler import driver as scheduling
from labapi.scheduler.host_manager import HostManager
from labapi.servicegroup import driver
from labapi.servicegroup.driver import Liveness


@dataclass(frozen=True)
class Backend:
    """What controllers are built from: each names what it needs in its ``__init__``.

    :ivar draining: set when this process is about to stop, and load balancers are to leave it
    """

    conf: cfg.ConfigOpts
    transport: Transport
    database: Database
    policy: Policy
    hints: Hints
    waiters: Waiters
    output: Reader
    beat: Beat
    liveness: Liveness
    keys: ConductorKeys
    hosts: HostManager
    scheduler: scheduling.Driver
    draining: threading.Event

    @classmethod
    def of(
        cls,
        conf: cfg.ConfigOpts,
        transport: Transport,
        database: Database,
        rules: Policy | None = None,
    ) -> Backend:
        """Return a backend that is not started.

        :param rules: the default is the policy as the files have it now
        """
        waiters = Waiters(transport)
        liveness = driver.load(conf)
        return cls(
            conf,
            transport,
            database,
            rules or policy.load(conf),
            Hints(transport),
            waiters,
            Reader(conf, database, waiters),
            Beat(conf, database),
            liveness,
            ConductorKeys(conf, database),
            HostManager(conf, database, liveness),
            scheduling.load(conf),
            threading.Event(),
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
