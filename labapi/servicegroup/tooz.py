"""Liveness from a coordination service: memcached, etcd, ZooKeeper or Redis, by tooz.

Agents have no access to it. Conductors, which hear the heartbeats, are the members of a group, and
each tells the group when it heard of which host. A host is up if a conductor that is itself a
member heard of it lately. A conductor that dies leaves the group after the backend's membership
timeout; by then the next heartbeats have gone to the others, for they share one queue.

What a conductor knows is one value in the backend, written and read whole every ``REFRESH``
seconds: some 25 bytes for each host. That is meant for hundreds of hosts, a few thousand at most;
beyond, and wherever there is no other reason, the driver ``db`` is cheaper and as quick.

While the backend is away, and for ``service_down_time`` after it came (back), the group cannot know
of every host: then the database's time of the last heartbeat speaks too, so that no case is given
up because of it.
"""

from __future__ import annotations

import datetime
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

from oslo_config import cfg
from oslo_log import log
from stevedore.exception import NoMatches
from tooz import ToozError, coordination

from labapi import tls
from labapi.exceptions import ConfigError
from labapi.servicegroup.driver import Liveness

LOG = log.getLogger(__name__)

GROUP = b"labapi-conductors"
REFRESH = 1.0  # seconds
PATIENCE = 10.0  # seconds without the backend, after which the database speaks


class Tooz(Liveness):
    """Asks the members of a group which hosts they have heard of.

    :raises ConfigError: ``[servicegroup] backend_url`` is missing or unusable
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        url = conf.servicegroup.backend_url
        if not url:
            raise ConfigError("[servicegroup] backend_url: the driver tooz needs one")
        try:
            member = uuid.uuid4().hex.encode()
            self._coordinator = coordination.get_coordinator(url, member, **_tls(conf))
        except (ToozError, NoMatches, ImportError, ValueError) as error:
            raise ConfigError(f"[servicegroup] backend_url: {error}") from error
        self._lock = threading.Lock()
        self._own: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._read_at = 0.0
        self._since: float | None = None
        self._joined = False
        self._away = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def heard(self, hosts: Iterable[str], now: datetime.datetime) -> None:
        """Tell the group with the next refresh; the first call makes this process a member."""
        moment = now.timestamp()
        with self._lock:
            self._own.update(dict.fromkeys(hosts, moment))
        self._start()

    def is_up(self, row: Any, now: datetime.datetime) -> bool:
        """Look into what the group has told last."""
        if row.stopped or row.last_seen_at is None:
            return False
        self._start()
        seen = self._seen.get(row.host, 0.0)
        if not self._settled():
            seen = max(seen, row.last_seen_at.timestamp())
        return now.timestamp() - seen <= self.down_time

    def _settled(self) -> bool:
        """Say whether the group has been there for so long that it knows of every host."""
        now, since = time.monotonic(), self._since
        return since is not None and now - since > self.down_time and now - self._read_at < PATIENCE

    def close(self) -> None:
        """End the thread. What this member told stands until the backend forgets it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(5)

    def _start(self) -> None:
        """Begin at first use: after a fork, in the process that serves."""
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        started = False
        while not self._stopping.is_set():
            try:
                if not started:
                    self._coordinator.start()
                    started = True
                self._refresh()
            except (ToozError, OSError) as error:
                if not self._away:
                    LOG.warning("the coordination service is away: %s", error)
                self._away, self._joined, self._since = True, False, None
            else:
                if self._away:
                    LOG.info("the coordination service is back")
                self._away = False
            self._stopping.wait(REFRESH)

    def _refresh(self) -> None:
        self._coordinator.heartbeat()
        with self._lock:
            oldest = time.time() - self.down_time
            self._own = {host: at for host, at in self._own.items() if at >= oldest}
            own = dict(self._own)
        if own or self._joined:
            self._tell(own)
        told = dict(own)
        for host, at in self._others():
            told[host] = max(at, told.get(host, 0.0))
        self._seen = told
        self._read_at = time.monotonic()
        self._since = self._since or self._read_at

    def _tell(self, own: dict[str, float]) -> None:
        if self._joined:
            self._coordinator.update_capabilities(GROUP, own).get()
            return
        try:
            self._coordinator.create_group(GROUP).get()
        except coordination.GroupAlreadyExist:
            LOG.debug("the group of conductors is there")
        try:
            self._coordinator.join_group(GROUP, own).get()
        except coordination.MemberAlreadyExist:
            self._coordinator.update_capabilities(GROUP, own).get()
        self._joined = True

    def _others(self) -> Iterable[tuple[str, float]]:
        try:
            members = self._coordinator.get_members(GROUP).get()
        except coordination.GroupNotCreated:
            return
        for member in members:
            try:
                told = self._coordinator.get_member_capabilities(GROUP, member).get()
            except coordination.MemberNotJoined:
                continue  # it has left meanwhile
            yield from (told or {}).items()


def _tls(conf: cfg.ConfigOpts) -> dict[str, Any]:
    """Return the options of tooz's driver for Redis; the client checks chain and name.

    :raises ConfigError: the files cannot be used, or not with this backend
    """
    files = tls.files("servicegroup", conf.servicegroup)
    if not files:
        return {}
    if not conf.servicegroup.backend_url.startswith("redis:"):
        raise ConfigError("[servicegroup] ca_file, cert_file and key_file are for redis:// only")
    files.context()
    named = {"ssl_ca_certs": files.ca, "ssl_certfile": files.cert, "ssl_keyfile": files.key}
    return {"ssl": "true", **{name: file for name, file in named.items() if file}}
