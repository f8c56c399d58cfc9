"""What comes back from the lab, and which error it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.exceptions import InvalidHeader

from labapi_client import exceptions
from labapi_client.exceptions import FAULTS, BadAnswer, Fault, LabError

T = TypeVar("T")

REQUEST_ID = "X-Openstack-Request-Id"
MAX_MESSAGE = 2000  # characters of a fault's message that are shown
MAX_ERRORS = 1000  # of one fault that are shown

# Of answers that are no fault of the API: those of a proxy, say.
_BY_CODE: dict[int, type[Fault]] = {
    400: exceptions.BadRequest,
    401: exceptions.Unauthorized,
    403: exceptions.Forbidden,
    404: exceptions.NotFound,
    405: exceptions.BadMethod,
    409: exceptions.Conflict,
    413: exceptions.OverLimit,
    415: exceptions.BadMediaType,
    429: exceptions.OverLimit,
    501: exceptions.NotImplementedByLab,
    502: exceptions.Unavailable,
    503: exceptions.Unavailable,
    504: exceptions.Unavailable,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its body.

    :ivar headers: their names may be asked for in any case
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """What the lab calls the request."""
        return self.headers.get(REQUEST_ID)

    def json(self) -> Any:
        """Return the body as an object.

        :raises BadAnswer: it is not JSON
        """
        return self.decode(Any)

    def decode(self, kind: type[T] | Any) -> Any:
        """Return the body as an object of a type.

        :raises BadAnswer: it is something else
        """
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            message = f"the answer cannot be read; is this the URL of a lab? {error}"
            raise BadAnswer(message, self.request_id) from None


def error_of(answer: Answer) -> LabError | None:
    """Return the error that an answer stands for, None if it stands for none."""
    if 200 <= answer.status < 300:
        return None
    if answer.status < 400:
        return BadAnswer(f"the lab has moved{_whereto(answer)}; give the URL where it is now")
    name, fault = _fault(answer)
    kind = FAULTS.get(name) or _BY_CODE.get(answer.status)
    if kind is None:
        kind = exceptions.ServerFault if answer.status >= 500 else Fault
    message = str(fault.get("message") or f"the lab answers {answer.status}")[:MAX_MESSAGE]
    return kind(
        message,
        str(fault.get("request_id") or answer.request_id or "")[:MAX_MESSAGE] or None,
        code=answer.status,
        retry_after=_retry_after(answer),
        errors=_errors(fault.get("errors")),
    )


def _fault(answer: Answer) -> tuple[str, dict[str, Any]]:
    try:
        ((name, fault),) = msgspec.json.decode(answer.body, type=dict[str, dict[str, Any]]).items()
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return "", {}
    return name, fault


def _errors(found: Any) -> list[str]:
    """Return what is wrong with each part of a body."""
    if not isinstance(found, list):
        return []
    return [one[:MAX_MESSAGE] for one in found[:MAX_ERRORS] if isinstance(one, str)]


def _whereto(answer: Answer) -> str:
    """Return where a redirect leads, without what might be secret in it."""
    try:
        parts = urlsplit(answer.headers.get("Location", ""))
    except ValueError:
        return ""
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f" to {place[:MAX_MESSAGE]}" if parts.netloc else ""


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("Retry-After")
    if text is None:
        return None
    try:
        return urllib3.Retry().parse_retry_after(text)
    except (InvalidHeader, ValueError, OverflowError):
        return None  # no time, or one that is in no calendar
