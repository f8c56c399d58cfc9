"""Asks filters and weighers, which may be somebody else's and raise anything.

What a machine tells of itself makes them raise as well: then it is not chosen, and the others are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oslo_log import log

from labapi.rpc.tally import Tally
from labapi.scheduler.filters import Filter, Lack
from labapi.scheduler.host_state import HostState
from labapi.scheduler.spec import RequestSpec
from labapi.scheduler.weighers import Weigher

LOG = log.getLogger(__name__)

_RAISED = "%s cannot be asked about host %s (%d so far)"
_raised = Tally()  # so that the log gets few lines of it, whoever asks


def all_pass(filters: Iterable[Filter], host: HostState, spec: RequestSpec) -> bool:
    """Say whether a host will do for all filters; for one that raises it will not."""
    try:
        return all(each.passes(host, spec) for each in filters)
    except Exception:
        if so_far := _raised.add("a filter"):
            LOG.exception(_RAISED, "a filter", host.host, so_far)
        return False


def lacks(each: Filter, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
    """Return what a host lacks for a filter, nothing if it passes."""
    try:
        if each.passes(host, spec):
            return ()
        return each.lacks(host, spec) or (Lack(each.name),)
    except Exception:
        if so_far := _raised.add("a filter"):
            LOG.exception(_RAISED, "a filter", host.host, so_far)
        return (Lack(each.name, "it could not be asked; the log says why"),)


def weight(weigher: Weigher, host: HostState, spec: RequestSpec) -> float:
    """Return what a weigher says of a host, from 0 to 1; 0 for what is not a number, or raises."""
    try:
        return min(1.0, max(0.0, weigher.weigh(host, spec)))
    except Exception:
        if so_far := _raised.add("a weigher"):
            LOG.exception(_RAISED, "a weigher", host.host, so_far)
        return 0.0
