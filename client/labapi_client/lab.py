"""A lab, as its users have it in their hands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from labapi_client.answer import Answer
from labapi_client.managers.groups import Groups
from labapi_client.managers.leases import Leases
from labapi_client.managers.limits import Limits
from labapi_client.managers.plans import Plans
from labapi_client.managers.services import Services
from labapi_client.managers.slaves import Slaves
from labapi_client.managers.testcases import TestCases
from labapi_client.transport import Sending, Stream, Transport, encoded


class Lab:
    """A lab. Threads may share it; as a context manager it closes its connections.

    :ivar slaves: its hosts
    :ivar testcases: its cases
    :ivar plans: its test plans: many cases in one order
    :ivar services: its programs
    :ivar groups: of hosts that only some projects may use
    :ivar leases: of hosts, to a project until a time
    :ivar limits: how many requests it takes
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.slaves = Slaves(self)
        self.testcases = TestCases(self)
        self.plans = Plans(self)
        self.services = Services(self)
        self.groups = Groups(self)
        self.leases = Leases(self)
        self.limits = Limits(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @property
    def url(self) -> str:
        """The URL of the API; Keystone may be asked for it."""
        return self._transport.url

    @property
    def timeout(self) -> float:
        """Seconds that the lab may be silent in the middle of an answer."""
        return self._transport.timeout

    def close(self) -> None:
        """Close the connections that are kept open; the lab can be used again."""
        self._transport.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0.0,
    ) -> Answer:
        """Send a request that no manager has a method for.

        :param path: below the URL of the API: ``/slaves``
        :param query: parameters; those that are None are left out, lists are given several times
        :param body: what JSON can say; bytes are sent as they are, with the ``Content-Type`` in
            ``headers``
        :param wait: seconds that the lab may take to answer, beyond the timeout
        :raises LabError: the lab cannot be reached, or refuses
        """
        data = body if body is None or isinstance(body, bytes) else encoded(body)
        sending = Sending(method, path, query or {}, data, dict(headers or {}), wait)
        return self._transport.request(sending)

    def stream(
        self,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """Begin a GET whose answer is read as it comes.

        :param timeout: seconds that the lab may be silent, if that is not the usual

        :raises LabError: the lab cannot be reached, or refuses
        """
        return self._transport.stream(
            Sending(
                *("GET", path, query or {}),
                headers=dict(headers or {}),
                timeout=timeout,
                stream=True,
            )
        )
