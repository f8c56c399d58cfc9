"""What a liveness driver does, and which one is configured."""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from oslo_config import cfg
from stevedore.driver import DriverManager
from stevedore.exception import NoMatches

from labapi.exceptions import ConfigError

NAMESPACE = "labapi.servicegroup"


class Liveness(ABC):
    """Says which agents are alive; a driver is an entry point of ``labapi.servicegroup``.

    :param conf: configuration with the groups ``[servicegroup]`` and ``[conductor]``
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.down_time: float = conf.conductor.service_down_time

    @abstractmethod
    def is_up(self, row: Any, now: datetime.datetime) -> bool:
        """Say whether an agent is up.

        :param row: with ``host``, ``last_seen_at`` and ``stopped`` as the database has them
        """

    @abstractmethod
    def heard(self, hosts: Iterable[str], now: datetime.datetime) -> None:
        """Take note that a conductor has just heard of agents; must not wait for a server."""

    @abstractmethod
    def close(self) -> None:
        """End what the driver has started."""


def is_up(liveness: Liveness, service: Any, now: datetime.datetime, *, agent: bool) -> bool:
    """Say whether a service of any kind is up.

    Only agents have heartbeats; the others write the database themselves, and it speaks for them.

    :param agent: it is an agent
    """
    if agent:
        return liveness.is_up(service, now)
    return heard_lately(service, now, liveness.down_time)


def heard_lately(row: Any, now: datetime.datetime, down_time: float) -> bool:
    """Say whether a row of the database tells of a service that is up.

    :param row: ``last_seen_at``, by a conductor's clock, and ``stopped``: it said goodbye since
    :param down_time: seconds of silence after which it counts as down
    """
    if row.last_seen_at is None or row.stopped:
        return False
    return bool((now - row.last_seen_at).total_seconds() <= down_time)


def silence_of(row: Any) -> str:
    """Say why an agent is down, and since when.

    :param row: with ``last_seen_at`` and ``stopped``
    """
    if row.last_seen_at is None:
        return "it was never heard of"
    how = "its agent was told to stop, last heard of at" if row.stopped else "last heard of at"
    return f"{how} {row.last_seen_at:%Y-%m-%dT%H:%M:%SZ}"


def load(conf: cfg.ConfigOpts) -> Liveness:
    """Return the driver that is configured.

    :raises ConfigError: there is no such driver, or it cannot be used
    """
    name = conf.servicegroup.driver
    try:
        found: DriverManager[Any] = DriverManager(
            NAMESPACE,
            name,
            invoke_on_load=True,
            invoke_args=(conf,),
        )
    except NoMatches:
        raise ConfigError(f"[servicegroup] driver: there is no driver {name!r}") from None
    except ImportError as error:
        raise ConfigError(f"[servicegroup] driver: {name} cannot be loaded: {error}") from error
    if not isinstance(found.driver, Liveness):
        raise ConfigError(f"[servicegroup] driver: {name} is not a liveness driver")
    return found.driver
