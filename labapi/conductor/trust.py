"""Hosts whose agents do not trust the key that this conductor signs with."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from oslo_log import log

from labapi.rpc import signing

LOG = log.getLogger(__name__)

NAMED = 5  # hosts that a line of the log names


class Distrust:
    """Says in the log which hosts refuse this conductor's commands: once, and when it is over."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def note(self, trusted: Mapping[str, Collection[str] | None], key: str | None) -> None:
        """Compare what agents trust with the key that signs here.

        :param trusted: ``{host: short names of keys}``, None for an agent that obeys all
        :param key: short name of the key that signs, None if none does
        """
        shown = key or "none"
        against = sorted(h for h, keys in trusted.items() if not signing.trusts(keys, key))
        fresh = [host for host in against if self._told.get(host) != shown]
        over = sorted((self._told.keys() & trusted.keys()) - set(against))
        self._told.update(dict.fromkeys(fresh, shown))
        for host in over:
            del self._told[host]
        if fresh:
            LOG.error(
                "hosts that do not trust the key of this conductor (%s) get no cases from it: %s;"
                " name its public key in [agent] trusted_keys there, and reload their agents",
                shown,
                _some(fresh),
            )
        if over:
            LOG.info("hosts that trust the key of this conductor now: %s", _some(over))


def _some(hosts: list[str]) -> str:
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return f"{', '.join(hosts[:NAMED])}{more}"
