"""Let in clients whose addresses are on a list.

``[filter:ip_whitelist]``
    ``use = egg:labapi-middleware#ip_whitelist``

The client is ``REMOTE_ADDR``. With proxies in front, the ``proxy`` filter to the left has set it;
no header can name another client here. Lists come from two places, and a request must pass both:

- the option ``allow``, for every request; left empty, it restricts nobody;
- metadata of what a request addresses: values of the keys that start with ``prefix``. Which
  metadata these are is what a *source* knows, named by the option ``source`` and found among the
  entry points of the group ``labapi_middleware.allow_sources``.

A source is called when the pipeline is built, with the application to the right, the rules and the
filter's options, and returns the application that stands in the pipeline. It may have ``options``
of its own, and as ``error`` a subclass of :class:`OptionError` that its server knows how to show.
Two come with this distribution, and :func:`by_lookup` makes one of a function:

- ``application``: a guard stands in ``environ['labapi.host_guard']``, and the application asks it
  whenever it has found what a request is about: ``guard(metadata)`` is None or the message for a
  403; ``guard.problem(key, value)`` is None or what is wrong with a list that is being set;
  ``guard.access()`` is what tells later, and elsewhere, what this client may reach;
- ``swift``: the metadata of the container, in an OpenStack Swift proxy.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from labapi_middleware.addresses import networks
from labapi_middleware.allow_rules import Access, Client, Rules, client_of
from labapi_middleware.contract import CLIENT, Need
from labapi_middleware.environ import HOST_GUARD
from labapi_middleware.faults import respond
from labapi_middleware.filter import (
    Conf,
    Filter,
    Option,
    OptionError,
    boolean,
    described,
    integer,
    text,
)
from labapi_middleware.log_text import request_line
from labapi_middleware.own_addresses import OwnAddresses

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

NAME = "ip_whitelist"
SOURCES = "labapi_middleware.allow_sources"

UNAVAILABLE = "Whether this address is allowed cannot be found out at the moment. Try again."


class Source(Protocol):
    """What an entry point of the group ``labapi_middleware.allow_sources`` names."""

    def __call__(self, app: WSGIApplication, rules: Rules, conf: Conf) -> WSGIApplication:
        """Return what asks the rules about the metadata of what each request addresses."""
        ...


def load_source(name: str) -> Source | None:
    """Find a source by its name; None for no name.

    :raises ValueError: there is no such source, or several, or it cannot be imported
    """
    name = name.strip()
    if not name:
        return None
    installed = entry_points(group=SOURCES)
    found = {entry.value: entry for entry in installed if entry.name == name}
    if len(found) != 1:
        known = ", ".join(sorted({entry.name for entry in installed}))
        raise ValueError(f"expected one of {known}, found {len(found)} of this name")
    try:
        source: Source = next(iter(found.values())).load()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot be loaded ({error})") from error
    return source


def _prefix(value: str) -> str:
    if not value.strip():
        raise ValueError("expected at least one character")
    return value.strip()


ALLOW = Option("allow", "", networks, "Networks that may come in; empty: all.")
SOURCE = Option("source", "", load_source, "Where metadata come from; empty: from nowhere.")
PREFIX = Option("prefix", "allow", _prefix, "What the metadata keys of lists start with.")
OPERATORS = Option("operators", "", networks, "Networks that no list keeps out.")
ALLOW_OWN_ADDRESSES = Option(
    "allow_own_addresses", "true", boolean, "No list keeps this machine's own addresses out."
)
CLOSED_BY_DEFAULT = Option(
    "closed_by_default", "false", boolean, "Metadata without any list let nobody in."
)
DENY_MESSAGE = Option(
    "deny_message", "IP Denied", text, "The message for clients that are refused."
)
RETRY_AFTER = Option(
    "retry_after", "5", integer(1, 3600), "Seconds until a retry, when a source fails."
)
OPTIONS = (
    ALLOW,
    SOURCE,
    PREFIX,
    OPERATORS,
    ALLOW_OWN_ADDRESSES,
    CLOSED_BY_DEFAULT,
    DENY_MESSAGE,
    RETRY_AFTER,
)


def rules_of(conf: Conf) -> Rules:
    """Build the rules that the options describe."""
    return Rules(
        allow=conf[ALLOW] or None,
        operators=conf[OPERATORS],
        own=OwnAddresses() if conf[ALLOW_OWN_ADDRESSES] else None,
        prefix=conf[PREFIX],
        closed_by_default=conf[CLOSED_BY_DEFAULT],
    )


class IpWhitelist(Filter):
    """Apply the option ``allow``."""

    name = NAME
    options = OPTIONS
    repeatable = True

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.rules = rules_of(conf)
        self._message = conf[DENY_MESSAGE]

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Ask for the client's address, not that of a proxy."""
        return (Need(CLIENT, required=False),)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Let a request in or answer 403."""
        reason = self.rules.outside(client_of(environ))
        if reason is None:
            return self.app(environ, start_response)
        log_denial(environ, reason)
        return respond(environ, start_response, 403, self._message)


def filter_factory(
    global_conf: Mapping[str, str] | None, **local_conf: str
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Check the options and return what wraps an application."""
    written = {**(global_conf or {}), **local_conf}
    try:
        source = load_source(written.get(SOURCE.name, SOURCE.default))
    except ValueError as error:
        raise OptionError(NAME, SOURCE.name, f"{written[SOURCE.name]!r}: {error}") from error
    options: tuple[Option[Any], ...] = (*OPTIONS, *getattr(source, "options", ()))
    try:
        conf = Conf(NAME, options, local_conf, global_conf)
    except OptionError as error:
        refuse = getattr(source, "error", OptionError)
        raise refuse(error.filter, error.option, error.problem) from None

    def wrap(app: WSGIApplication) -> WSGIApplication:
        inside = IpWhitelist(app, conf)
        return source(inside, inside.rules, conf) if source else inside

    return wrap


described(filter_factory, IpWhitelist)
# What it needs depends on no option, and its options on the source.
filter_factory.needs = lambda *_, **__: (Need(CLIENT, required=False),)  # type: ignore[attr-defined]
filter_factory.advice = lambda *_, **__: ()  # type: ignore[attr-defined]


def log_denial(environ: WSGIEnvironment, reason: str) -> None:
    """Write the log line of a denial: request id, client, request, reason."""
    LOG.warning("%s denied: %s", request_line(environ), reason)


class Guard:
    """What an application asks about the metadata of what a request is about.

    It belongs to one request and logs its first denial only, so that a listing that leaves out a
    thousand hosts does not write a thousand lines.

    :param rules: who may reach what
    :param environ: of the request
    :param message: for clients that are refused
    """

    def __init__(self, rules: Rules, environ: WSGIEnvironment, message: str) -> None:
        self._rules = rules
        self._environ = environ
        self._message = message
        self._logged = False

    def __call__(self, metadata: Mapping[str, str]) -> str | None:
        """Return the message for a 403, or None: this client may reach what has these metadata."""
        reason = self._rules.denied(self._client, metadata)
        if reason is None:
            return None
        if not self._logged:
            self._logged = True
            log_denial(self._environ, reason)
        return self._message

    @functools.cached_property
    def _client(self) -> Client:
        return client_of(self._environ)

    def problem(self, key: str, value: str) -> str | None:
        """Return what is wrong with a metadata value that is being set, or None."""
        return self._rules.problem(key, value)

    def access(self) -> Access:
        """Return what tells later whether this client may reach what has some metadata.

        For an application that finds only after the request what the request is about.
        """
        return self._rules.access(self._client)


class BothGuards:
    """The guards of two filters in one pipeline: a client has to pass both.

    It has no ``access``, which tells the rules of one filter only.

    :param left: of the filter further to the left
    """

    def __init__(self, left: Any, right: Guard) -> None:
        self._left = left
        self._right = right

    def __call__(self, metadata: Mapping[str, str]) -> str | None:
        """Return the message for a 403, or None."""
        message: str | None = self._left(metadata)
        return self._right(metadata) if message is None else message

    def problem(self, key: str, value: str) -> str | None:
        """Return what is wrong with a metadata value that is being set, or None."""
        problem: str | None = self._left.problem(key, value)
        return self._right.problem(key, value) if problem is None else problem


def application(app: WSGIApplication, rules: Rules, conf: Conf) -> WSGIApplication:
    """Leave a guard in the environ of every request (the source ``application``)."""
    message = conf[DENY_MESSAGE]

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        guard, left = Guard(rules, environ, message), environ.get(HOST_GUARD)
        environ[HOST_GUARD] = guard if left is None else BothGuards(left, guard)
        return app(environ, start_response)

    return guarded


def by_lookup(lookup: Callable[[WSGIEnvironment], Mapping[str, str] | None]) -> Source:
    """Make a source of a function that knows the metadata of what a request addresses.

    :param lookup: returns the metadata, or None where a request addresses nothing that has any;
        whatever it raises is logged, and the request is answered 503 with ``Retry-After``
    """

    def source(app: WSGIApplication, rules: Rules, conf: Conf) -> WSGIApplication:
        message = conf[DENY_MESSAGE]
        later = [("Retry-After", str(conf[RETRY_AFTER]))]

        def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            try:
                metadata = lookup(environ)
            except Exception:  # whatever is wrong with the source, it must not open anything
                LOG.exception("%s unavailable: the source failed", request_line(environ))
                return respond(environ, start_response, 503, UNAVAILABLE, later)
            if metadata is not None:
                reason = rules.denied(client_of(environ), metadata)
                if reason is not None:
                    log_denial(environ, reason)
                    return respond(environ, start_response, 403, message)
            return app(environ, start_response)

        return guarded

    return source
