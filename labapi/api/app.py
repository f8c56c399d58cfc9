"""The API's application, as Paste asks for it.

Paste hands strings to a factory and nothing else. What the application needs besides them (the
configuration, the database, the broker) is the *backend*, which the program sets while it has
Paste build the pipeline.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping

from labapi.api.backend.backend import Backend
from labapi.api.router import Router
from labapi.api.routes import ROUTES
from labapi.pipeline.contract import CONTEXT, Need, described, no_options

_current: contextvars.ContextVar[Backend] = contextvars.ContextVar("backend")


@contextlib.contextmanager
def backend(value: Backend) -> Iterator[None]:
    """Let applications that Paste builds meanwhile use this backend."""
    token = _current.set(value)
    try:
        yield
    finally:
        _current.reset(token)


def current_backend() -> Backend:
    """Return the backend for an application that is being built.

    :raises RuntimeError: outside :func:`backend`
    """
    behind = _current.get(None)
    if behind is None:
        raise RuntimeError("the API is built by labapi.api.load.load, not by Paste alone")
    return behind


_check = no_options("api")


@described(_check, Need(CONTEXT))
def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> Router:
    """Return the application of ``/v2.1``; it takes no options.

    :raises RuntimeError: outside :func:`backend`
    """
    _check(global_conf, **local_conf)
    behind = current_backend()
    return Router(ROUTES, vars(behind), behind.conf.api.database_time)
