"""What a filter is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from oslo_config import cfg

from labapi.scheduler.host_state import HostState
from labapi.scheduler.host_states import HostStates
from labapi.scheduler.kept import Ids
from labapi.scheduler.spec import RequestSpec


class Lack(NamedTuple):
    """Why a host was turned away.

    :ivar asked: what was asked of it, by which hosts are counted: a word, or the caller's sentence
    :ivar found: what it has instead, empty where nothing more can be said
    """

    asked: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.asked}: {self.found}" if self.found else self.asked


class Filter(ABC):
    """Says which hosts a case may be given to; an entry point of ``labapi.scheduler.filters``.

    A filter keeps nothing between two questions: what it says follows from host and request.

    :ivar name: by which turned away hosts are counted
    :ivar run_filter_once_per_request: of each host it is asked once for all cases of a request, so
        it does not see what was given to hosts for the first ones
    :ivar conceals: of hosts that it turns away nothing else may be said
    :ivar sees_all: it overrides :meth:`filter_all`
    :param conf: the whole configuration
    """

    name: ClassVar[str]
    run_filter_once_per_request: ClassVar[bool] = False
    conceals: ClassVar[bool] = False
    sees_all = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.sees_all = cls.filter_all is not Filter.filter_all

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    def applies(self, spec: RequestSpec) -> bool:
        """Say whether the request asks anything of this filter at all."""
        return True

    @abstractmethod
    def passes(self, host: HostState, spec: RequestSpec) -> bool:
        """Say whether a host will do."""

    def filter_all(self, hosts: Iterable[HostState], spec: RequestSpec) -> Iterable[HostState]:
        """Return the hosts that will do; a filter that has to see all of them says it here.

        :param hosts: those that the filters that see one host let pass
        """
        return (host for host in hosts if self.passes(host, spec))

    def index(self, spec: RequestSpec, hosts: HostStates) -> Iterable[Ids]:
        """Return sets of ids in all of which every host is that passes.

        They spare looking at the others, :meth:`HostStates.where` keeps them, and what is in them
        is asked for all the same.
        """
        return ()

    def lacks(self, host: HostState, spec: RequestSpec) -> Sequence[Lack]:
        """Say what a host that does not pass lacks."""
        return (Lack(self.name),)
