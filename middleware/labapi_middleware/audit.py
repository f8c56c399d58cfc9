"""Record what was changed, and by whom.

``[filter:audit]``
    ``use = egg:labapi-middleware#audit``

    ``file =``
        Where to append the lines; readable by the owner only, opened again after a rotation. Empty
        is the logger ``labapi_middleware.audit`` at level info.

One line of JSON for each request that may change something (any method but GET, HEAD and OPTIONS),
also for one that is refused or dies::

    {"time": "2026-11-21T09:30:00.123Z", "request_id": "req-…", "client": "192.0.2.7",
     "user": "alice", "project": "lab", "roles": ["member"], "method": "POST",
     "path": "/v2.1/testcases", "status": 202, "outcome": "success", "complete": true,
     "seconds": 0.012, "action": "testcases:create", "target": "5b9e675c-…"}

``outcome`` is ``success`` below 400 and ``failure`` otherwise; ``complete`` is false if the answer
broke off. The last two are what the application adds in ``environ['labapi.audit']``, a dict; it
cannot replace what stands here. Bodies and query strings are never in it.

Put it to the right of ``proxy``, for the client's address, and to the left of the authentication,
so that refused requests are recorded, too.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from labapi_middleware import identity
from labapi_middleware.contract import Advice
from labapi_middleware.environ import AUDIT, REQUEST_ID
from labapi_middleware.exchange import Exchange
from labapi_middleware.filter import Conf, Filter, Option, OptionError, factory, text

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

FILE = Option("file", "", text, "Where to append the lines; empty is the log.")

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
# A line stays small enough to be written at once. Characters of a value, and extra values.
_LONGEST = 1024
_MOST_EXTRA = 16


class Audit(Filter):
    """Write a line for each request that may change something."""

    name = "audit"
    options = (FILE,)

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.write: Callable[[str], None] = LOG.info
        if conf[FILE]:
            try:
                self.write = AuditFile(conf[FILE]).write
            except OSError as error:
                problem = f"{conf[FILE]} cannot be opened ({error.strerror})"
                raise OptionError(self.name, FILE.name, problem) from error

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that the file can be written, and leave it to the server to make it.

        A check that runs as root would leave a file that the service's user cannot write.
        """
        path = conf[FILE]
        if not path:
            return
        folder = os.path.dirname(os.path.abspath(path))
        if os.path.isdir(path):
            problem = "it is a folder"
        elif os.path.exists(path):
            problem = "" if os.access(path, os.W_OK) else "it cannot be written"
        else:
            problem = "" if os.access(folder, os.W_OK) else f"it cannot be made in {folder}"
        if problem:
            raise OptionError(cls.name, FILE.name, f"{path} cannot be opened: {problem}")

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Warn of a file whose folder depends on where the server is started."""
        if conf[FILE] and not os.path.isabs(conf[FILE]):
            problem = f"{conf[FILE]} is written in the folder where the server is started"
            yield Advice(FILE.name, f"{problem}; write the whole path")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on, and write its line when it is over."""
        if environ["REQUEST_METHOD"] in _READING:
            return self.app(environ, start_response)
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        finished = partial(self._record, datetime.now(UTC), _utf8(path))
        return Exchange(environ, start_response, finished).run(self.app)

    def _record(self, began: datetime, path: str, exchange: Exchange) -> None:
        line = json.dumps(_facts(began, path, exchange))
        try:
            self.write(line)
        except OSError as error:
            # The request is done; its line must not be lost as well.
            LOG.error("the audit file cannot be written (%s): %s", error.strerror, line)


class AuditFile:
    """A file that lines are appended to, whole, by any number of processes.

    :param path: of the file
    :raises OSError: it cannot be opened
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def write(self, line: str) -> None:
        """Append a line.

        :raises OSError: it is not in the file
        """
        data = line.encode("ascii") + b"\n"
        with self._lock:
            if self._rotated():
                descriptor = self._open()
                os.close(self._descriptor)
                self._descriptor = descriptor
            if os.write(self._descriptor, data) != len(data):
                raise OSError(0, "only a part of the line was written")

    def _rotated(self) -> bool:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return True
        return not os.path.samestat(found, os.fstat(self._descriptor))

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()


def _facts(began: datetime, path: str, exchange: Exchange) -> dict[str, Any]:
    environ = exchange.environ
    confirmed = identity.confirmed_by(environ) is not None
    roles = identity.value(environ, "ROLES") if confirmed else None
    facts: dict[str, Any] = {
        "time": began.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": environ.get(REQUEST_ID),
        "client": environ.get("REMOTE_ADDR"),
        "user": _short(identity.user_id(environ)),
        "project": _short(identity.project_id(environ)),
        "roles": [_short(role.strip()) for role in roles.split(",")] if roles else [],
        "method": _short(environ["REQUEST_METHOD"]),
        "path": _short(path),
        "status": int(exchange.status) if exchange.status.isdigit() else 500,
        "outcome": "failure" if exchange.died or exchange.status >= "400" else "success",
        "complete": exchange.complete,
        "seconds": round(exchange.seconds, 6),
    }
    return {**_extra(environ.get(AUDIT)), **facts}


def _extra(given: object) -> dict[str, Any]:
    """Return what an application adds, whatever it put there."""
    if not isinstance(given, Mapping):
        return {}
    items = list(given.items())[:_MOST_EXTRA]
    plain = (bool, int, float, type(None))
    return {str(k): v if isinstance(v, plain) else _short(str(v)) for k, v in items}


def _short(value: str | None) -> str | None:
    return None if value is None else value[:_LONGEST]


def _utf8(path: str) -> str:
    """Return a path as it is meant; WSGI hands on its bytes as latin-1."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


filter_factory = factory(Audit)
