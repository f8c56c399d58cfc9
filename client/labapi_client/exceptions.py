"""What can go wrong: one class for each fault of the API, and those of the way there.

``str()`` of each is one line, with the id of the request that the log of the lab knows it by.
"""

from __future__ import annotations

from collections.abc import Sequence


def one_line(text: str) -> str:
    """Return a text in one line, without what a terminal would obey."""
    line = " ".join(text.split())
    return "".join(one if one.isprintable() else "?" for one in line)


class LabError(Exception):
    """The root of what this package raises on purpose.

    :param message: for people; made one line, without what a terminal would obey
    :param request_id: what the lab calls the request, None where it has not answered
    """

    def __init__(self, message: str, request_id: str | None = None) -> None:
        self.message = one_line(message)
        self.request_id = request_id and one_line(request_id)
        super().__init__(self.message, self.request_id)

    def __str__(self) -> str:
        return f"{self.message} ({self.request_id})" if self.request_id else self.message


class BadConfiguration(LabError):
    """What says where the lab is, or who asks, cannot be used."""


class BadDocument(LabError):
    """A test plan that is not sent: it is too large, or has no such ``environment``."""


class ConnectionFailed(LabError):
    """The lab cannot be reached, or the connection to it broke."""


class TimedOut(LabError):
    """The time that the caller gave is over; what was waited for may still come."""


class BadAnswer(LabError):
    """An answer that is not of the API: another program listens there, or a proxy answers."""


class Fault(LabError):
    """The lab refuses a request.

    :param code: the HTTP status
    :param retry_after: seconds after which the lab would like to be asked again
    :param errors: of what has several, each with its path, in one line
    """

    def __init__(
        self,
        message: str,
        request_id: str | None = None,
        *,
        code: int = 0,
        retry_after: float | None = None,
        errors: Sequence[str] = (),
    ) -> None:
        super().__init__(message, request_id)
        self.code = code
        self.retry_after = retry_after
        self.errors = [one_line(error) for error in errors]


class BadRequest(Fault):
    """A field or a parameter cannot be used; the message names it."""


class Unauthorized(Fault):
    """The lab wants to know who asks, or does not believe it."""


class Forbidden(Fault):
    """Who asks may not do this."""


class NotFound(Fault):
    """There is no such thing, or none that this project may see."""


class BadMethod(Fault):
    """The URL does not take this method."""


class Conflict(Fault):
    """The state of the thing does not allow this."""


class OverLimit(Fault):
    """Too many requests, or too large a body."""


class BadMediaType(Fault):
    """The body is of a kind that the lab does not read."""


class NotImplementedByLab(Fault):
    """The lab does not have this."""


class Unavailable(Fault):
    """The lab needs a server that is away; the same request may succeed later."""


class ServerFault(Fault):
    """The lab has met an error of its own."""


# By the name that the API gives the fault.
FAULTS: dict[str, type[Fault]] = {
    "badRequest": BadRequest,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "itemNotFound": NotFound,
    "badMethod": BadMethod,
    "conflictingRequest": Conflict,
    "overLimit": OverLimit,
    "badMediaType": BadMediaType,
    "notImplemented": NotImplementedByLab,
    "serviceUnavailable": Unavailable,
    "computeFault": ServerFault,
}
