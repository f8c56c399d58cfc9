"""The conductor's threads."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from typing import Any

from kombu import Queue
from oslo_config import cfg
from oslo_log import log

from labapi.conductor.dispatch import Dispatcher
from labapi.conductor.hearing import Hearing
from labapi.conductor.heartbeats import Heartbeats
from labapi.conductor.housekeeping import Housekeeping
from labapi.conductor.meters import Meters
from labapi.conductor.notices import Notices
from labapi.conductor.plans import Plans
from labapi.conductor.reaper import Reaper
from labapi.conductor.reports import Reports
from labapi.db import hosts
from labapi.db.session import Database
from labapi.exceptions import ConfigError
from labapi.metrics.page import Page
from labapi.rpc import signing
from labapi.rpc.consumer import BatchConsumer
from labapi.rpc.messages import Message
from labapi.rpc.publisher import Publisher
from labapi.rpc.transport import CONDUCTOR_QUEUE, HEARTBEAT_QUEUE, REPORT_QUEUE, Transport
from labapi.servicegroup import driver as servicegroup
from labapi.trouble import Trouble

LOG = log.getLogger(__name__)

UNSIGNED = "commands are not signed: [conductor] signing_key names no key"
STOP_TIMEOUT = 10.0  # seconds that each thread has for the batch at hand


class Conductor:
    """Dispatches, collects and reaps; any number of them share the work.

    :param conf: configuration with the ``[conductor]`` group
    :ivar hearing: when it could hear
    :raises ConfigError: the key that signs commands, or an option of ``[notify]``, cannot be used
    """

    def __init__(self, conf: cfg.ConfigOpts, transport: Transport, database: Database) -> None:
        self._conf = conf.conductor
        self._database = database
        self._in_process = transport.in_process
        signer = signing.signer(conf.conductor.signing_key)
        if signer is None and not transport.in_process:
            LOG.warning(UNSIGNED)
        self._commands = Publisher(transport, signer=signer)
        self._news = Publisher(transport, confirm=False, signer=signer)
        self._liveness = servicegroup.load(conf)
        self._page, meters = _meters(conf)
        dispatcher = Dispatcher(conf, database, self._commands, self._liveness, meters)
        plans = Plans(conf, database, self._news, dispatcher, meters)
        reports = Reports(
            *(conf, database, self._news, dispatcher.freed, meters), ended=plans.ended
        )
        self._heartbeats = Heartbeats(
            *(conf, database, self._news, dispatcher.arrived),
            liveness=self._liveness,
            # In one process there is one agent; somebody who deletes its folder means to.
            guarded=not transport.in_process,
            meters=meters,
        )
        self.hearing = Hearing(conf, self._line)
        read = functools.partial(_reader, conf, transport, meters)
        self._signs = read(
            *("heartbeats", HEARTBEAT_QUEUE, self._hear),
            batch=conf.conductor.heartbeat_batch,
            pace=conf.conductor.heartbeat_pace,
        )
        self._threads: list[BatchConsumer | Reaper | Housekeeping | Plans | Notices] = [
            Reaper(conf, database, self._news, dispatcher, self.hearing, meters),
            self._signs,
            Housekeeping(conf, database),
            plans,
            Notices(conf, database),
            read("dispatch", CONDUCTOR_QUEUE, _both(dispatcher.handle, plans.handle)),
            read("reports", REPORT_QUEUE, reports.handle),
        ]

    def _hear(self, messages: list[Message]) -> None:
        self._heartbeats.handle(messages)
        # What was written down was heard, however long the sweep at hand takes.
        self.hearing.listen(datetime.datetime.now(datetime.UTC))

    def _line(self) -> int:
        return self._signs.connections if self._signs.consuming.is_set() else 0

    def start(self) -> None:
        """Start to work; returns at once.

        :raises ConfigError: the numbers cannot be shown where the configuration says
        """
        if self._page is not None:
            self._page.start()
        for thread in self._threads:
            thread.start()

    def reload_key(self) -> None:
        """Read the key that signs commands again; keep the old one if that fails.

        What is wrong goes to the log, and so do the hosts that do not trust the key.
        """
        try:
            signer = signing.signer(self._conf.signing_key)
        except ConfigError as error:
            LOG.error("%s; the key that signed until now still does", error)
            return
        if signer is not None:
            LOG.info("commands are signed with the key %s", signer.id)
        elif not self._in_process:
            LOG.warning(UNSIGNED)
        self._commands.signer = self._news.signer = signer
        with Trouble(LOG, "the look at who trusts the key").told():
            trusted = self._database.read(hosts.trusted_keys)
            self._heartbeats.distrust.note(trusted, signing.key_of(signer))

    @property
    def listens(self) -> bool:
        """Whether all its queues are read at this moment."""
        readers = (thread for thread in self._threads if isinstance(thread, BatchConsumer))
        return all(reader.consuming.is_set() for reader in readers)

    @property
    def trouble(self) -> str:
        """What keeps it from its queues, empty if nothing is known to do so."""
        readers = (thread for thread in self._threads if isinstance(thread, BatchConsumer))
        return next((reader.trouble for reader in readers if reader.trouble), "")

    def stop(self) -> None:
        """Finish the batches at hand and stop."""
        for thread in self._threads:
            thread.stop(0)
        for thread in self._threads:
            thread.join(STOP_TIMEOUT)
        if self._page is not None:
            self._page.stop()
        self._commands.close()
        self._news.close()
        self._liveness.close()


def _reader(
    conf: cfg.ConfigOpts,
    transport: Transport,
    meters: Meters,
    name: str,
    queue: Queue,
    handle: Callable[[list[Message]], None],
    **how: Any,
) -> BatchConsumer:
    """Return what reads one of the conductor's queues; ``how`` is for :class:`BatchConsumer`."""
    how.setdefault("batch", conf.conductor.batch)
    return BatchConsumer(transport, [queue], handle, name=name, seen=meters.read, **how)


def _both(
    first: Callable[[list[Message]], None], second: Callable[[list[Message]], None]
) -> Callable[[list[Message]], None]:
    def handle(messages: list[Message]) -> None:
        first(messages)
        second(messages)

    return handle


def _meters(conf: cfg.ConfigOpts) -> tuple[Page | None, Meters]:
    """Return what counts, and the page that shows it; it is there only if it is wanted."""
    if conf.conductor.metrics_port is None:
        return None, Meters()
    from labapi.conductor.prometheus import PrometheusMeters

    page = Page("labapi-conductor", conf.conductor)
    return page, PrometheusMeters(page.registry)
