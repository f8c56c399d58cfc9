"""Log in with user and password (HTTP Basic, RFC 7617) from an htpasswd file with bcrypt.

``[filter:basic]``
    ``use = egg:labapi-middleware#basic``

    ``htpasswd_file``
        The file, as ``htpasswd -B`` writes it. Required. A change counts with the next request.
    ``realm = labapi``
        What the client is asked to log in to.
    ``project = default``
        The project of users whose line below names none.
    ``roles = member, reader``
        The roles of users who have no line below.
    ``user_<name> = <role>, <role> @ <project>``
        Roles and project of one user; the project, one, comes last and may be left out.
    ``cache_seconds = 300``
        How long a password that was right is not checked again; 0 checks it on each request, which
        takes bcrypt 50 to 200 ms.
    ``cache_size = 1000``
        How many of them are remembered.
    ``failures_per_address = 10 per minute``
        Wrong passwords that one address may send. After that its passwords are not checked for a
        while; those that are remembered count as before. Empty is any number.
    ``failures_per_user = 20 per minute``
        The same for one user, from all addresses together.
    ``checks_at_once = 2``
        How many passwords are checked at the same time; each takes a processor.

A request without a good user and password gets a 401 fault. Unknown users and wrong passwords take
the same time and get the same answer. Passwords of more than 72 bytes are refused, as bcrypt would
ignore the rest. Identity headers and tokens in the request are dropped, and so is the password.

A client that guesses gets a 429 with ``Retry-After`` before bcrypt is run, and does not hold up
others: checks do not block green threads. A login gets a 503 if 16 others wait for their checks, or
if its own has to wait for more than 5 seconds. Each worker process counts for itself.
An IPv6 client is its /64 network. Put ``proxy`` to the left if there are proxies, or all of their
clients are one address; and TLS in front.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labapi_middleware import faults, identity, log_text
from labapi_middleware.contract import CLIENT, IDENTITY, Advice, Need
from labapi_middleware.filter import (
    Conf,
    Filter,
    Option,
    OptionError,
    comma_list,
    factory,
    integer,
    seconds,
    text,
)
from labapi_middleware.htpasswd import PasswordFile, PasswordFileError
from labapi_middleware.password_check import Failures, Refused, TooManyFailures, Verifier
from labapi_middleware.ratelimit.rules import limit, subject

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOG = logging.getLogger(__name__)

# A name and a password in base64 are not longer than this. Characters.
_LONGEST_HEADER = 1024


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user may be: roles, and a project or None for the default one."""

    roles: tuple[str, ...]
    project: str | None


def grant(value: str) -> Grant:
    """Read ``role, role @ project``."""
    roles, at, project = value.partition("@")
    if at and not project.strip():
        raise ValueError("expected a project after @")
    if "," in project or "@" in project:
        raise ValueError("expected one project after @, and all roles before it")
    return Grant(comma_list(roles), project.strip() or None)


def _realm(value: str) -> str:
    realm = value.strip()
    if not (realm.isascii() and realm.isprintable()) or '"' in realm or "\\" in realm:
        raise ValueError("expected printable ASCII without quotation marks and backslashes")
    return realm


HTPASSWD_FILE = Option("htpasswd_file", "", text, "The password file, written by htpasswd -B.")
REALM = Option("realm", "labapi", _realm, "What the client is asked to log in to.")
PROJECT = Option("project", "default", text, "The project of users whose line names none.")
ROLES = Option("roles", "member, reader", comma_list, "The roles of users who have no line.")
USER = Option("user_*", "", grant, "Roles and project of one user: role, role @ project.")
CACHE_SECONDS = Option(
    "cache_seconds", "300", seconds(0, 86400), "How long a right password is remembered."
)
CACHE_SIZE = Option("cache_size", "1000", integer(1, 1_000_000), "How many are remembered.")
FAILURES_PER_ADDRESS = Option(
    "failures_per_address",
    "10 per minute",
    limit,
    "Wrong passwords that one address may send; empty: any number.",
)
FAILURES_PER_USER = Option(
    "failures_per_user",
    "20 per minute",
    limit,
    "Wrong passwords of one user, from all addresses together; empty: any number.",
)
CHECKS_AT_ONCE = Option(
    "checks_at_once", "2", integer(1, 64), "How many passwords are checked at the same time."
)


class Basic(Filter):
    """Confirm the identity of users in an htpasswd file."""

    name = "basic"
    options = (
        HTPASSWD_FILE,
        REALM,
        PROJECT,
        ROLES,
        USER,
        CACHE_SECONDS,
        CACHE_SIZE,
        FAILURES_PER_ADDRESS,
        FAILURES_PER_USER,
        CHECKS_AT_ONCE,
    )
    gives = IDENTITY

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        super().__init__(app, conf)
        self.passwords = _password_file(conf)
        failures = Failures(address=conf[FAILURES_PER_ADDRESS], user=conf[FAILURES_PER_USER])
        self.verifier = Verifier(
            conf[CACHE_SECONDS], conf[CACHE_SIZE], conf[CHECKS_AT_ONCE], failures
        )
        self.grants = conf.members(USER)
        self.everybody = Grant(conf[ROLES], None)
        self.project = conf[PROJECT] or None
        self.challenge = [("WWW-Authenticate", f'Basic realm="{conf[REALM]}", charset="UTF-8"')]
        for user in self.grants:
            if user not in self.passwords:
                LOG.warning("filter basic: user_%s is not in the password file", user)

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that the password file can be read and has a known form."""
        _password_file(conf)

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Ask for the client's address, not that of a proxy."""
        return (Need(CLIENT, required=False),)

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Warn if others can read the password file, or if it lacks a user of the options."""
        path = conf[HTPASSWD_FILE]
        if not os.path.isabs(path):
            problem = f"{path} is looked for in the folder where the server is started"
            yield Advice(HTPASSWD_FILE.name, f"{problem}; write the whole path")
        if os.stat(path).st_mode & stat.S_IRWXO:
            problem = f"everybody on this machine can read {path}; chmod o= {path}"
            yield Advice(HTPASSWD_FILE.name, problem)
        users = _password_file(conf).users
        for user in conf.members(USER):
            if user not in users:
                near = difflib.get_close_matches(user, users, 1)
                guess = f"; did you mean '{near[0]}'?" if near else ""
                yield Advice(f"user_{user}", f"{path} has no user '{user}'{guess}")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Set the identity, or ask for it."""
        try:
            user = self._user(environ)
        except Refused as refused:
            LOG.info("%s denied: %s", log_text.request_line(environ), refused)
            return _refuse(refused, environ, start_response)
        if user is None:
            return faults.respond(
                environ,
                start_response,
                401,
                "This request needs a user and a password (HTTP Basic), and the right ones.",
                self.challenge,
            )
        environ.pop("HTTP_AUTHORIZATION", None)
        known = self.grants.get(user, self.everybody)
        identity.confirm(environ, self.name, user, known.project or self.project, known.roles)
        return self.app(environ, start_response)

    def _user(self, environ: WSGIEnvironment) -> str | None:
        """Return the user whose password the request has, None if it has none, or a wrong one.

        :raises Refused: the password is not checked
        """
        header = environ.get("HTTP_AUTHORIZATION")
        given = credentials(header or "")
        if given is None:
            why = "not a login of HTTP Basic" if header else "no login"
            LOG.info("%s denied: %s", log_text.request_line(environ), why)
            return None
        user, password = given
        hashed = self.passwords.hash_of(user)
        right = self.verifier.verify(user, hashed, password, subject(environ, "address"))
        known = user in self.passwords
        if right and known:
            return user
        # The name only if it is one: people type passwords into the wrong field.
        whose = f"of {user}" if known else "or unknown user"
        LOG.info("%s denied: wrong password %s", log_text.request_line(environ), whose)
        return None


def _refuse(
    refused: Refused, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    if isinstance(refused, TooManyFailures):
        code, why = 429, "There were too many wrong passwords."
    else:
        code, why = 503, "Too many others are logging in."
    wait = refused.retry_after
    later = [("Retry-After", str(wait))]
    text = f"{why} Try again in {wait} {'second' if wait == 1 else 'seconds'}."
    return faults.respond(environ, start_response, code, text, later)


def credentials(header: str) -> tuple[str, bytes] | None:
    """Read an ``Authorization`` header.

    :returns: user and password, None if the header is not a well-formed one of HTTP Basic
    """
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _LONGEST_HEADER:
        return None
    try:
        decoded = base64.b64decode(encoded.strip(" "), validate=True)
        user, colon, _ = decoded.decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    if not colon or not user:
        return None
    return user, decoded.partition(b":")[2]


def _password_file(conf: Conf) -> PasswordFile:
    path = conf[HTPASSWD_FILE]
    if not path:
        raise OptionError(Basic.name, HTPASSWD_FILE.name, "expected the path of a password file")
    try:
        return PasswordFile(path)
    except PasswordFileError as error:
        raise OptionError(Basic.name, HTPASSWD_FILE.name, str(error)) from error


filter_factory = factory(Basic)
