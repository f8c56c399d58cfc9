"""Requests on their way to a lab: connections, timeouts, and when one is sent again.

No redirect is followed: what a request carries is for one lab only.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.client import BadStatusLine, RemoteDisconnected
from typing import Any
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, TimeoutError

from labapi_client import ANSWER_TIMEOUT
from labapi_client.answer import Answer, error_of
from labapi_client.configuration import Way
from labapi_client.connections import pool
from labapi_client.deadline import within
from labapi_client.exceptions import BadAnswer, BadConfiguration, ConnectionFailed, Fault
from labapi_client.exchange import Exchange, masked
from labapi_client.retries import Retries, may_repeat

JSON = "application/json"
CONNECT_TIMEOUT = 10.0  # seconds for a connection to come about, and for a block to be taken
MAX_ANSWER = 256 * 1024 * 1024  # bytes of an answer that are read into memory
PIECE = 64 * 1024  # bytes of a stream that are read at a time

# What a lab or a proxy answers while something behind it is away.
_AWAY = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Sending:
    """A request.

    :ivar wait: seconds that the lab may take to begin its answer, beyond the usual
    :ivar timeout: seconds that the lab may be silent, None for the usual
    :ivar stream: the body of the answer is read as it comes
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    timeout: float | None = None
    stream: bool = False


class _Unsent(ConnectionFailed):
    """No connection came about, so the lab has not seen the request."""


class _Silent(ConnectionFailed):
    """No answer came in time."""


class Stream:
    """An answer whose body is read as it comes; a context manager that ends it.

    :ivar kind: its media type
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, where: str) -> None:
        self._response = response
        self._where = where
        self.kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Break the connection if there is more to come."""
        self._response.close()

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body as it comes.

        :raises ConnectionFailed: the connection broke, or nothing has come for too long
        """
        try:
            while piece := self._response.read1(PIECE):
                yield piece
        except (HTTPError, OSError, ValueError) as error:
            raise ConnectionFailed(_said(error, self._where)) from None


class Transport:
    """Sends requests to one lab. Threads share it.

    :param way: to the lab
    :param timeout: seconds that the lab may be silent in the middle of an answer
    :param answer_timeout: seconds that a whole answer may take, beyond ``Sending.wait``; of one
        that is read as it comes, its head
    :param debug: is given each exchange
    """

    def __init__(
        self,
        way: Way,
        *,
        timeout: float,
        answer_timeout: float = ANSWER_TIMEOUT,
        debug: Callable[[Exchange], None] | None = None,
        retries: Retries | None = None,
    ) -> None:
        self._way = way
        self._timeout = timeout
        self._answer_timeout = answer_timeout
        self._debug = debug
        self._retries = retries or Retries()
        self._connections: urllib3.PoolManager | None = None
        self._lock = threading.Lock()

    @property
    def timeout(self) -> float:
        """Seconds that the lab may be silent in the middle of an answer."""
        return self._timeout

    @cached_property
    def url(self) -> str:
        """The URL of the API, without a slash at the end."""
        return self._way.url()

    def close(self) -> None:
        """Close the connections that are kept open."""
        with self._lock:
            if self._connections is not None:
                self._connections.clear()

    def request(self, sending: Sending) -> Answer:
        """Send a request and return its answer.

        :raises ConnectionFailed: the lab cannot be reached
        :raises Fault: the lab refuses the request
        :raises BadAnswer: the answer is not of the API
        """
        answer, _ = self._send(sending)
        return answer

    def stream(self, sending: Sending) -> Stream:
        """Send a request and return its answer, whose body is read as it comes.

        :raises LabError: as those of ``request``
        """
        _, response = self._send(sending)
        return Stream(response, self.url)

    def _send(self, sending: Sending) -> tuple[Answer, urllib3.BaseHTTPResponse]:
        attempt, renewed = 0, False
        while True:
            attempt += 1
            failure: ConnectionFailed | Fault
            try:
                answer, response = self._attempt(sending)
            except ConnectionFailed as error:
                failure = error
            else:
                error_found = error_of(answer)
                if error_found is None:
                    return answer, response
                if not isinstance(error_found, Fault):
                    raise error_found
                if answer.status == 401 and not renewed and self._way.identity.renew():
                    renewed = True
                    continue
                failure = error_found
            pause = self._pause(sending, attempt, failure)
            if pause is None:
                raise failure from None
            time.sleep(pause)

    def _pause(
        self, sending: Sending, attempt: int, failure: ConnectionFailed | Fault
    ) -> float | None:
        repeatable = may_repeat(sending.method, sending.headers)
        if isinstance(failure, Fault):
            if failure.code == 429 or (failure.code in _AWAY and repeatable):
                return self._retries.pause(attempt, failure.retry_after)
            return None
        if repeatable or isinstance(failure, _Unsent):
            return self._retries.pause(attempt, silent=isinstance(failure, _Silent))
        return None

    def _attempt(self, sending: Sending) -> tuple[Answer, urllib3.BaseHTTPResponse]:
        url = f"{self.url}{sending.path}{_query(sending.query)}"
        kind = {} if sending.body is None else {"Content-Type": JSON}
        headers = {"Accept": JSON, **kind, **self._way.identity.headers(), **sending.headers}
        _check(headers)
        begun = time.monotonic()
        answer: Answer | None = None
        error: ConnectionFailed | None = None
        try:
            answer, response = self._once(sending, url, headers)
        except ConnectionFailed as failure:
            error = failure
            raise
        else:
            return answer, response
        finally:
            if self._debug is not None:
                self._debug(
                    Exchange(
                        *(sending.method, url, masked(headers), sending.body),
                        answer.status if answer else None,
                        masked(answer.headers) if answer else {},
                        None if answer is None or sending.stream else answer.body,
                        time.monotonic() - begun,
                        error.message if error else None,
                    )
                )

    def _once(
        self, sending: Sending, url: str, headers: dict[str, str]
    ) -> tuple[Answer, urllib3.BaseHTTPResponse]:
        read = (sending.timeout or self._timeout) + sending.wait
        # Bytes would have to be taken within the time that a connection may take; of a file, each
        # block has that time.
        body = None
        if sending.body is not None:
            body = io.BytesIO(sending.body)
            headers = {**headers, "Content-Length": str(len(sending.body))}
        try:
            with within(self._answer_timeout + sending.wait) as deadline:
                response = self._pool.request(
                    *(sending.method, url),
                    body=body,
                    headers=headers,
                    timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=read),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    # No compression was asked for; of what is small then, much could come out.
                    decode_content=False,
                )
            content = b""
            if sending.stream and response.status < 300:
                deadline.lift()
            else:
                content = _whole(response)
                response.close() if len(content) > MAX_ANSWER else response.release_conn()
        except NewConnectionError as error:
            raise _Unsent(_said(error, self.url)) from None
        except TimeoutError as error:
            raise _Silent(_said(error, self.url)) from None
        except (HTTPError, OSError, ValueError) as error:
            raise ConnectionFailed(_said(error, self.url)) from None
        if len(content) > MAX_ANSWER:
            raise BadAnswer(f"the answer is larger than {MAX_ANSWER} bytes")
        return Answer(response.status, response.headers, content), response

    @property
    def _pool(self) -> urllib3.PoolManager:
        with self._lock:
            if self._connections is None:
                self._connections = pool(self._way, self.url)
            return self._connections


def _whole(response: urllib3.BaseHTTPResponse) -> bytes:
    """Return a body, of one that is too large its beginning; one that breaks off is an error."""
    body = response.read(MAX_ANSWER + 1)
    while len(body) <= MAX_ANSWER and (more := response.read(MAX_ANSWER + 1 - len(body))):
        body += more
    return body


def encoded(body: Any) -> bytes:
    """Return a body as JSON."""
    return msgspec.json.encode(body)


def _query(parameters: Mapping[str, Any]) -> str:
    """Return parameters as they stand in a URL: a list is one that is given several times."""
    words = {True: "true", False: "false"}
    given = {
        name: words[value] if isinstance(value, bool) else value
        for name, value in parameters.items()
        if value is not None
    }
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _check(headers: Mapping[str, str]) -> None:
    """Check that headers can be sent; of their values, which may be secret, nothing is shown.

    :raises BadConfiguration: one cannot
    """
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise BadConfiguration(f"{name} cannot be sent: expected one line of ASCII")


def _said(error: Exception, where: str) -> str:
    """Return what is wrong with a connection, in the words of the system."""
    if isinstance(error, NewConnectionError):
        why = str(error.__cause__ or error).rpartition("] ")[2]
        return f"no connection to {where}: {why}"
    if isinstance(error, TimeoutError):
        return f"{where} did not answer in time"
    if isinstance(error, ProtocolError):
        error = next((arg for arg in error.args if isinstance(arg, Exception)), error)
    if isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected):
        return f"what answers at {where} does not speak HTTP; is this the URL of a lab?"
    if "WRONG_VERSION_NUMBER" in str(error):
        return f"what answers at {where} does not speak TLS; is it http:// in place of https://?"
    said = error.strerror if isinstance(error, OSError) else None
    return f"the connection to {where} broke: {said or error}"
