"""Limit how many requests a client, a user or a project may make.

``[filter:ratelimit]``
    ``use = egg:labapi-middleware#ratelimit``

    ``rule_<name> = <methods> <path>: <amount> per <time> per address|project|user``
        One rule; there may be any number of them, and all that match a request are counted. The
        strictest answers. ``*`` stands for any method, and in a path for any characters. The time
        is ``second``, ``minute``, ``hour``, ``day`` or several: ``5 minutes``. GET covers HEAD.
    ``storage = memory://``
        Where to count: ``memory://`` is each process for itself; ``redis://host:port/db`` and
        ``memcached://host:port`` are for all processes and machines together.
    ``strategy = moving-window``
        ``moving-window`` never allows more than the amount in any stretch of that time;
        ``fixed-window`` counts from the first request on and needs less memory. memcached has only
        the latter.
    ``exempt =``
        Addresses and networks that are not limited.
    ``timeout = 0.5``
        Seconds that a request may wait for the storage.
    ``on_storage_failure = open``
        What to do when the storage does not answer: let requests through (``open``) or answer 503
        (``closed``).
    ``ca_file =``
        With ``rediss://``: a file with the certificates of the issuers that the server's
        certificate is checked against, its name included. The default is those that the system
        trusts.
    ``cert_file =``, ``key_file =``
        With ``rediss://``: files with the certificate that is shown to the server, and its key.
    ``key_prefix = labapi``
        Begins the keys in the storage; services that share one need different ones.

A request beyond a limit gets a 429 fault with ``Retry-After``. All answers have ``RateLimit``
and ``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers). ``environ['labapi.ratelimit']`` is
a callable that returns what the client has left.

A rule per user or project needs this filter to the right of the authentication; without a confirmed
identity it counts by address. To the left of it, rules per address also keep guessed passwords and
bogus tokens away from it. The filter may stand in a pipeline twice, once in each place. An IPv6
client is its /64 network.
"""

from __future__ import annotations

import logging
import math
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from labapi_middleware import faults
from labapi_middleware.addresses import networks, parse_address
from labapi_middleware.contract import CLIENT, IDENTITY, Advice, Need
from labapi_middleware.environ import FORWARDED_UNBELIEVED, RATELIMIT
from labapi_middleware.filter import (
    Conf,
    Filter,
    Option,
    OptionError,
    choice,
    factory,
    seconds,
    text,
)
from labapi_middleware.log_text import request_line
from labapi_middleware.ratelimit import answers
from labapi_middleware.ratelimit.memory import MemoryCounter
from labapi_middleware.ratelimit.rules import (
    NamedRule,
    named,
    normalised,
    odd_methods,
    odd_path,
    rule,
    subject,
)
from labapi_middleware.ratelimit.storage import (
    PAUSE,
    STRATEGIES,
    Counter,
    StorageAway,
    StorageCounter,
    TLSFiles,
    Window,
    open_storage,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

RULE = Option("rule_*", "", rule, "One rule: <methods> <path>: <amount> per <time> per <who>.")
STORAGE = Option("storage", "memory://", text, "Where to count.", secret=True)
STRATEGY = Option(
    "strategy", "moving-window", choice(*STRATEGIES), "How the windows of time are laid."
)
EXEMPT = Option("exempt", "", networks, "Addresses and networks that are not limited.")
TIMEOUT = Option(
    "timeout", "0.5", seconds(0.01, 60), "Seconds that a request may wait for the storage."
)
ON_STORAGE_FAILURE = Option(
    "on_storage_failure",
    "open",
    choice("open", "closed"),
    "Let requests through, or answer 503, when the storage does not answer.",
)
KEY_PREFIX = Option("key_prefix", "labapi", text, "Begins the keys in the storage.")
CA_FILE = Option("ca_file", "", text, "Issuers that the certificate of rediss:// is checked by.")
CERT_FILE = Option("cert_file", "", text, "The certificate that is shown to rediss://.")
KEY_FILE = Option("key_file", "", text, "The key of cert_file, if it is not in the same file.")

# How often an outage of the storage is in the log. Seconds.
_LOG_EVERY = 60.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class RateLimit(Filter):
    """Count requests and answer 429 to those that are too many."""

    name = "ratelimit"
    options = (
        RULE,
        STORAGE,
        STRATEGY,
        EXEMPT,
        TIMEOUT,
        ON_STORAGE_FAILURE,
        KEY_PREFIX,
        CA_FILE,
        CERT_FILE,
        KEY_FILE,
    )
    repeatable = True

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.rules = [
            named(name, rule, conf[KEY_PREFIX]) for name, rule in conf.members(RULE).items()
        ]
        self.counted = {each.rule.who for each in self.rules}
        self.counter = _counter(conf)
        self.exempt = conf[EXEMPT]
        self.closed = conf[ON_STORAGE_FAILURE] == "closed"
        self._logged = -math.inf

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that the names of the rules can be used and that the storage has the strategy."""
        for name in conf.members(RULE):
            if not _NAME.fullmatch(name):
                raise OptionError(
                    cls.name, f"rule_{name}", "expected letters, digits, _ and - in the name"
                )
        if not re.fullmatch(r"[!-~]{1,100}", conf[KEY_PREFIX]):
            raise OptionError(cls.name, KEY_PREFIX.name, "expected ASCII without blanks")
        _counter(conf)

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Look whether the rules can match anything, and whether they are counted in one place."""
        uses = conf.written.get("uses", "1")
        if uses != "1" and conf[STORAGE] == STORAGE.default:
            problem = f"this counts anew in each of the {uses} places where the section is used"
            yield Advice(STORAGE.name, f"{problem}; to count them together, use redis://")
        if not conf.members(RULE):
            yield Advice("", "there is no rule_<name>, so nothing is limited")
        for name, member in conf.members(RULE).items():
            problems = (*odd_methods(member), *odd_path(member))
            yield from (Advice(f"rule_{name}", problem) for problem in problems)

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Ask for an identity where users or projects are counted."""
        known = (
            Need(IDENTITY, f"rule_{name}")
            for name, rule in conf.members(RULE).items()
            if rule.who != "address"
        )
        return (Need(CLIENT, required=False), *known)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Count the request, and hand it on or refuse it."""
        # Decided here and not when an application asks what is left: by then an authentication to
        # the right may have changed the identity.
        subjects = {who: subject(environ, who) for who in self.counted}
        environ[RATELIMIT] = partial(self._left, subjects, environ.get(RATELIMIT, list))
        path = normalised(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))
        method = environ["REQUEST_METHOD"].upper()
        rules = [rule for rule in self.rules if rule.matches(method, path)]
        if not rules or self._is_exempt(environ):
            return self.app(environ, start_response)
        try:
            windows = self.counter.hit([(r.item, subjects[r.rule.who]) for r in rules])
        except StorageAway as error:
            return self._without_storage(error, environ, start_response)
        fields = answers.fields(rules, windows)
        refused = [pair for pair in zip(rules, windows, strict=True) if not pair[1].allowed]
        if refused:
            return _refuse(refused, fields, environ, start_response)

        def respond(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, answers.merged(headers, fields), exc_info)

        return self.app(environ, respond)

    def _is_exempt(self, environ: WSGIEnvironment) -> bool:
        # Behind a proxy that nobody told us to trust, everybody has that proxy's address.
        if not self.exempt or FORWARDED_UNBELIEVED in environ:
            return False
        try:
            return parse_address(environ.get("REMOTE_ADDR") or "") in self.exempt
        except ValueError:
            return False

    def _left(
        self, subjects: Mapping[str, str], before: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Return each rule and what is left of it; None where the storage is away.

        :param before: returns the same of a rate limit to the left
        """
        windows: Sequence[Window | None]
        try:
            windows = self.counter.peek([(r.item, subjects[r.rule.who]) for r in self.rules])
        except StorageAway as error:
            self._report(error)
            windows = [None] * len(self.rules)
        described = [answers.described(*pair) for pair in zip(self.rules, windows, strict=True)]
        return [*before(), *described]

    def _without_storage(
        self, error: StorageAway, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        self._report(error)
        if not self.closed:
            return self.app(environ, start_response)
        return faults.respond(
            environ,
            start_response,
            503,
            "The rate limit cannot be checked at the moment.",
            [("Retry-After", str(math.ceil(PAUSE)))],
        )

    def _report(self, error: StorageAway) -> None:
        now = time.monotonic()
        if error.first and now - self._logged >= _LOG_EVERY:
            self._logged = now
            then = "refused" if self.closed else "let through without a limit"
            LOG.error(
                "the storage of the rate limit does not answer (%s); requests are %s",
                error.__cause__,
                then,
            )


def _counter(conf: Conf) -> Counter:
    tls = _tls(conf)
    if conf[STORAGE] == STORAGE.default:
        return MemoryCounter(conf[STRATEGY])
    try:
        storage = open_storage(conf[STORAGE], conf[TIMEOUT] / 2, tls)
    except ValueError as error:
        raise OptionError(RateLimit.name, STORAGE.name, str(error)) from error
    try:
        return StorageCounter(storage, conf[STRATEGY], conf[TIMEOUT])
    except NotImplementedError as error:
        raise OptionError(
            RateLimit.name, STRATEGY.name, "this storage has only fixed-window"
        ) from error


def _tls(conf: Conf) -> TLSFiles:
    """Return the files of TLS.

    :raises OptionError: they are not for this storage, or one cannot be used
    """
    named = {option.name: conf[option] for option in (CA_FILE, CERT_FILE, KEY_FILE)}
    for name, file in named.items():
        if file and not conf[STORAGE].startswith("rediss:"):
            raise OptionError(RateLimit.name, name, "it is for a storage of rediss:// only")
    files = TLSFiles(*(file or None for file in named.values()))
    if not any(named.values()):
        return files
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except OSError as error:
        raise OptionError(
            RateLimit.name,
            CA_FILE.name,
            f"{files.ca} is not a readable PEM file ({error.strerror})",
        ) from error
    try:
        if files.cert:
            context.load_cert_chain(files.cert, files.key)
    except OSError as error:
        raise OptionError(
            RateLimit.name,
            CERT_FILE.name,
            f"{files.cert} is not a readable PEM file with a key that fits ({error.strerror})",
        ) from error
    return files


def _refuse(
    refused: Sequence[tuple[NamedRule, Window]],
    fields: list[tuple[str, str]],
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    strictest, window = max(refused, key=lambda pair: pair[1].reset)
    wait = max(1, math.ceil(window.reset))
    LOG.info("%s denied: rule_%s allows %s", request_line(environ), strictest.name, strictest.rule)
    message = (
        f"Too many requests: the rule '{strictest.name}' allows {strictest.rule}. "
        f"Try again in {wait} seconds."
    )
    headers = [("Retry-After", str(wait)), *fields]
    return faults.respond(environ, start_response, 429, message, headers)


filter_factory = factory(RateLimit)
