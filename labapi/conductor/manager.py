"""The conductor's threads."""

from __future__ import annotations

import datetime

from oslo_config import cfg
from oslo_log import log

from labapi.conductor.dispatch import Dispatcher
from labapi.conductor.hearing import Hearing
from labapi.conductor.heartbeats import Heartbeats
from labapi.conductor.housekeeping import Housekeeping
from labapi.conductor.reaper import Reaper
from labapi.conductor.reports import Reports
from labapi.db.session import Database
from labapi.rpc import signing
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import Message
from labapi.rpc.publisher import Publisher
from labapi.rpc.transport import CONDUCTOR_QUEUE, HEARTBEAT_QUEUE, REPORT_QUEUE, Transport
from labapi.servicegroup import driver as servicegroup

LOG = log.getLogger(__name__)

STOP_TIMEOUT = 10.0  # seconds that each thread has for the batch at hand


class Conductor:
    """Dispatches, collects and reaps; any number of them share the work.

    :param conf: configuration with the ``[conductor]`` group
    :ivar hearing: when it could hear
    :raises ConfigError: the key that signs commands cannot be used
    """

    def __init__(self, conf: cfg.ConfigOpts, transport: Transport, database: Database) -> None:
        signer = signing.signer(conf.conductor.signing_key)
        if signer is None and not transport.in_process:
            LOG.warning("commands are not signed: [conductor] signing_key names no key")
        self._commands = Publisher(transport, signer=signer)
        self._news = Publisher(transport, confirm=False, signer=signer)
        self._liveness = servicegroup.load(conf)
        dispatcher = Dispatcher(conf, database, self._commands, self._liveness)
        reports = Reports(conf, database, self._news, dispatcher.dispatch)
        heartbeats = Heartbeats(
            conf,
            database,
            self._news,
            dispatcher.arrived,
            # In one process there is one agent; somebody who deletes its folder means to.
            liveness=self._liveness,
            guarded=not transport.in_process,
        )
        self.hearing = Hearing(conf, self._line)
        self._heartbeats = heartbeats
        self._signs = BatchConsumer(
            transport,
            [HEARTBEAT_QUEUE],
            self._hear,
            name="heartbeats",
            batch=conf.conductor.heartbeat_batch,
            pace=conf.conductor.heartbeat_pace,
        )
        self._threads: list[BatchConsumer | Reaper | Housekeeping] = [
            Reaper(conf, database, self._news, dispatcher, self.hearing),
            self._signs,
            Housekeeping(conf, database),
        ]
        self._threads += [
            BatchConsumer(transport, [queue], handle, name=name, batch=conf.conductor.batch)
            for name, queue, handle in (
                ("dispatch", CONDUCTOR_QUEUE, dispatcher.handle),
                ("reports", REPORT_QUEUE, reports.handle),
            )
        ]

    def _hear(self, messages: list[Message]) -> None:
        self._heartbeats.handle(messages)
        # What was written down was heard, however long the sweep at hand takes.
        self.hearing.listen(datetime.datetime.now(datetime.UTC))

    def _line(self) -> int:
        return self._signs.connections if self._signs.consuming.is_set() else 0

    def start(self) -> None:
        """Start to work; returns at once."""
        for thread in self._threads:
            thread.start()
        LOG.info("conductor started")

    @property
    def listens(self) -> bool:
        """Whether all its queues are read at this moment."""
        readers = (thread for thread in self._threads if isinstance(thread, BatchConsumer))
        return all(reader.consuming.is_set() for reader in readers)

    def stop(self) -> None:
        """Finish the batches at hand and stop."""
        for thread in self._threads:
            thread.stop(0)
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)
        self._commands.close()
        self._news.close()
        self._liveness.close()
        LOG.info("conductor stopped")
