"""Let every error leave as a JSON fault with the request id.

``[filter:faultwrap]``
    ``use = egg:labapi-middleware#faultwrap``

It has no options. What it does, for everything to the right of it in the pipeline:

* An exception becomes a 500 fault; its text and traceback go to the log with the request id and
  never to the client. That holds for one raised while the body is being iterated, too: when part
  of the answer is on its way already, the exception is raised on to the server, which ends the
  connection, so that the client sees that something is missing.
* A 4xx or 5xx answer that is not JSON (a filter's text, a proxy's page) becomes a fault of the same
  status; its other headers (``WWW-Authenticate``, ``Retry-After``, ``Allow`` …) stay. Short plain
  text of a 4xx becomes the message. So does that of a JSON ``{"error": {"code", "message"}}``, the
  form of keystonemiddleware. Other JSON passes untouched.
* A path with control characters (``%0a``) is a 400 at once. What matches paths by expressions, such
  as the rules of a rate limit, may take one with a line break at its end for another path than the
  application does.
* A client that hangs up while it is sending is not a fault: one line at level info.
* A client that prefers HTML to JSON in ``Accept``, as browsers do, gets HTML.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from labapi_middleware import faults, foreign_answer, log_text
from labapi_middleware.client_input import ClientInput, has_body
from labapi_middleware.filter import Filter, factory

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LOG = logging.getLogger(__name__)

_HUNG_UP = "The request's body ended early."
# WSGI hands on a path decoded as latin-1, so these are the bytes of ASCII's control characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_PATH = "The URL's path has a control character."


class _WatchedInput(ClientInput):
    """Remembers what went wrong between the client and us, as opposed to us and a backend."""

    error: BaseException | None = None

    def _read(self, method: str, size: int) -> bytes:
        try:
            return super()._read(method, size)
        except Exception as error:  # each server has errors of its own for a broken body
            self.error = error
            raise


class Faultwrap(Filter):
    """Turn exceptions and foreign error pages into faults."""

    name = "faultwrap"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on and look at what comes back."""
        if _CONTROL.search(environ.get("PATH_INFO", "")):
            LOG.info("%s denied: the path has a control character", log_text.request_line(environ))
            return faults.respond(environ, start_response, 400, _NO_PATH)
        body_in = None
        if has_body(environ):
            body_in = environ["wsgi.input"] = _WatchedInput(environ["wsgi.input"])
        answer = _Answer(environ, start_response, body_in)
        try:
            body = self.app(environ, answer.start)
        except BaseException as error:  # noqa: BLE001 - failed() logs it or raises it again
            return answer.failed(error)
        complete = type(body) in (list, tuple)
        if complete and answer.passed:
            return body  # the common case: nothing in it can fail any more
        answer.run(body)
        if complete:
            return list(answer)
        # eventlet keeps small chunks back, headers included: it would answer a failure that comes
        # later with a 500 of its own, where the client has to see an answer that breaks off.
        environ.setdefault("eventlet.minimum_write_chunk_size", 0)
        return answer


class _Answer:
    """One answer on its way: start_response for the application, iterable for the server."""

    def __init__(
        self,
        environ: WSGIEnvironment,
        start_response: StartResponse,
        body_in: _WatchedInput | None,
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._body_in = body_in
        self._held: tuple[str, list[tuple[str, str]], Any] | None = None
        self._written: list[bytes] = []  # of a held answer, by the write callable
        self._looked = False  # whether the body was begun, and with it the time to hold is over
        self._sent = False
        self._hang_up: BaseException | None = None
        self._close: Callable[[], object] | None = None
        self._chunks: Iterator[bytes] = iter(())
        self.passed = False

    # As start_response

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Pass a good answer on at once; keep an error back until its body is seen."""
        if status[0] not in "45" or self._looked or self._sent:
            return self._watched(self._pass(status, headers, exc_info))
        self._held = (status, headers, exc_info)
        self.passed = False
        return self._written.append

    def _pass(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        self._held = None
        self.passed = True
        return self._start_response(status, headers, exc_info)

    def _watched(self, write: Callable[[bytes], object]) -> Callable[[bytes], object]:
        def watched_write(data: bytes) -> None:
            self._sent = self._sent or bool(data)
            try:
                write(data)
            except OSError as error:
                self._hang_up = error
                raise

        return watched_write

    # As the body

    def run(self, body: Iterable[bytes]) -> None:
        """Take over the application's body."""
        self._close = getattr(body, "close", None)
        # Made on the first step, so that a body whose iter() fails is caught like any other.
        self._chunks = self._guarded(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._sent = self._sent or bool(chunk)
        return chunk

    def close(self) -> None:
        """Close the application's body, once, whoever calls and how often."""
        close, self._close = self._close, None
        if close is None:
            return
        try:
            close()
        except Exception:
            # The answer is complete; all that is left is to say so where it can be repaired.
            LOG.exception("%s: closing the body failed", log_text.request_line(self._environ))

    def _guarded(self, body: Iterable[bytes]) -> Iterator[bytes]:
        try:
            chunks = iter(body)
            first = next(chunks, None)  # an application may start its answer only here
            while first == b"" and not self.passed and self._held is None:
                first = next(chunks, None)
            self._looked = True
            if self._held is not None:
                rest = chunks if first is None else chain([first], chunks)
                yield from self._replaced(rest)
                return
            self._check_started()
            if first is not None:
                yield first
                yield from chunks
        except BaseException as error:  # noqa: BLE001 - failed() logs it or raises it again
            yield from self.failed(error)

    def _check_started(self) -> None:
        if not self.passed:
            raise AssertionError("the application did not call start_response")

    def _replaced(self, chunks: Iterator[bytes]) -> Iterable[bytes]:
        """Return the body of a held error: as it is if it is JSON, or a fault instead."""
        status, headers, exc_info = self._held or ("", [], None)
        code = int(status[:3])
        kind = foreign_answer.content_type(headers)
        seen = list(self._written)
        if "json" in kind:
            seen = seen or list(foreign_answer.beginning(chunks, 1))
            text = self._foreign(code, seen, chunks)
            if text is None:
                self._pass(status, headers, exc_info)
                return chain(seen, chunks)
        else:
            seen += foreign_answer.beginning(chunks)
            text = foreign_answer.message(code, kind, b"".join(seen))
        self.close()
        kept = foreign_answer.lasting(headers)
        return faults.respond(
            self._environ,
            self._pass,
            code,
            text,
            kept,
            status=status,
            exc_info=exc_info,
        )

    def _foreign(self, code: int, seen: list[bytes], chunks: Iterator[bytes]) -> str | None:
        """Return the message of JSON that has to become a fault, None for what may pass.

        That is an ``{"error": …}`` of another project, and any fault when the client is a browser
        and wants HTML.
        """
        head = b"".join(seen)
        if not head and self._environ["REQUEST_METHOD"] != "HEAD":
            return faults.message(code)
        browser = faults.prefers_html(self._environ.get("HTTP_ACCEPT", ""))
        if not browser and not head.startswith(b'{"error"'):
            return None
        seen += foreign_answer.beginning(chunks)
        return foreign_answer.json_message(b"".join(seen))

    # When it fails

    def failed(self, error: BaseException) -> list[bytes]:
        """Answer with a fault, or raise the error again if it is too late for that.

        :raises BaseException: the error, when part of the answer is sent, or when it is no fault
            at all but the end of this request, thread or process
        """
        if isinstance(error, (GeneratorExit, KeyboardInterrupt, SystemExit, _greenlet_exit())):
            raise error
        hung_up = error is self._hang_up or (
            self._body_in is not None and error is self._body_in.error
        )
        outage = faults.is_outage(error)
        where = log_text.request_line(self._environ)
        if hung_up:
            LOG.info("%s: the client hung up (%s)", where, type(error).__name__)
        elif outage:
            LOG.error("%s: a server behind a filter does not answer: %s", where, error)
        elif self._sent:
            LOG.error("%s: failed while it was being answered", where, exc_info=error)
        else:
            LOG.error("%s: failed", where, exc_info=error)
        self.close()
        if self._sent:
            raise error
        code = 400 if hung_up else 503 if outage else 500
        text = _HUNG_UP if hung_up else faults.message(code)
        exc_info = (type(error), error, error.__traceback__)
        return faults.respond(self._environ, self._pass, code, text, exc_info=exc_info)


def _greenlet_exit() -> type[BaseException]:
    """Return what ends a green thread; eventlet's timeouts, BaseExceptions too, are faults."""
    ends: type[BaseException] = getattr(sys.modules.get("greenlet"), "GreenletExit", SystemExit)
    return ends


filter_factory = factory(Faultwrap)
