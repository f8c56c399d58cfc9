"""What no host has ever met is refused at once, with the word that may be meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from labapi.db.session import Record
from labapi.exceptions import InvalidInput
from labapi.known import there_is
from labapi.scheduler import catalogue
from labapi.scheduler.driver import Driver
from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import RequestSpec

# Different catalogues in which parameters are looked at; the agent has the last word.
MAX_CATALOGUES = 64
WAIT = ' (a case with "on_no_host": "wait" waits for one)'


def check_ever(spec: RequestSpec, hosts: HostStates, scheduler: Driver) -> None:
    """Check that each thing that is asked for was ever there on some host.

    :param spec: without a plugin for a lease; without parameters while they are not known
    :param hosts: those that the caller may know of
    :raises InvalidInput: it is on none; the text says what there is instead
    """
    if spec.plugin is not None:
        _check_method(spec, hosts)
    zone = spec.placement.zone
    if zone is not None and not hosts.all_where(("in zone", zone), lambda host: host.zone == zone):
        zones = {host.zone for host in hosts}
        raise InvalidInput(f"zone: no host is in zone {zone!r}; {there_is(zones, zone)}")
    for sentence in spec.placement.requires:
        # One after the other: to look for the word that is meant takes a while.
        placement = msgspec.structs.replace(spec.placement, requires=(sentence,))
        for problem in scheduler.never_met(RequestSpec(placement=placement), hosts):
            raise InvalidInput(f"requires: {problem}{'' if spec.plugin is None else WAIT}")


def check_offered(asked: RequestSpec, hosts: Collection[Record], of: str) -> None:
    """Check that one of a few hosts offers a method, and that its parameters fit there.

    :param hosts: rows with ``host`` and ``plugins`` (JSON text)
    :param of: what hosts they are, for the text of an error: `` of the group``
    :raises InvalidInput: none does; the text says what there is instead
    """
    offering = [host for host in hosts if _offers(host, asked)]
    if not offering:
        raise _nobody_offers(asked, hosts, of)
    _check_parameters(asked, offering)


def _check_method(asked: RequestSpec, hosts: HostStates) -> None:
    key = ("offers", asked.plugin or "", asked.method or "")
    offering = hosts.all_where(key, lambda host: _offers(host, asked))
    if not offering:
        raise _nobody_offers(asked, hosts)
    _check_parameters(asked, map(hosts.__getitem__, offering))


def _offers(host: Record | HostState, asked: RequestSpec) -> bool:
    return asked.method in catalogue.read(host.plugins).plugins.get(asked.plugin or "", ())


def _check_parameters(asked: RequestSpec, offering: Iterable[Record | HostState]) -> None:
    """Check that the parameters fit on one of the hosts that offer the method."""
    if asked.parameters is None:
        return
    refused: InvalidInput | None = None
    looked_at: set[str] = set()
    for host in offering:
        # Hosts that announce the same share one text.
        if host.plugins in looked_at:
            continue
        if len(looked_at) == MAX_CATALOGUES:
            return
        looked_at.add(host.plugins)
        try:
            catalogue.check(host, asked.plugin or "", asked.method or "", asked.parameters)
        except InvalidInput as error:
            refused = refused or error
        else:
            return
    if refused is not None:
        raise refused


def _nobody_offers(
    asked: RequestSpec, hosts: Iterable[Record | HostState], of: str = ""
) -> InvalidInput:
    plugin, method = asked.plugin or "", asked.method or ""
    announced = [catalogue.read(text).plugins for text in {host.plugins for host in hosts}]
    plugins = {name for found in announced for name in found}
    if plugin not in plugins:
        known = there_is(plugins, plugin)
        return InvalidInput(f"plugin: no host{of} has a plugin {plugin!r}; {known}")
    methods = {name for found in announced for name in found.get(plugin, ())}
    known = there_is(methods, method)
    return InvalidInput(
        f"method: plugin {plugin} has no method {method!r} on any host{of}; {known}"
    )
