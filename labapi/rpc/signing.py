"""Signed commands: only a conductor can have a lab machine run something.

Everybody who can write to the broker can put a message into an agent's queue. The agent obeys it
only if it was signed with a conductor's private key. A signature (Ed25519) covers the exact bytes
of the body, which names the host, and the times of issue and expiry; it travels in the message's
headers. What keeps a valid command from being used again:

- ``RunCase`` carries its attempt, and an agent's journal runs an attempt once. The journal forgets
  (``[agent] journal_keep``, an hour at least), so an old command must not count either: it expires.
  It names the agent's session, too, which ends when contact is lost: a case that was given up
  meanwhile does not run, however early its command is repeated.
- ``CancelCase`` ends an attempt for good: to hear it again changes nothing.
- ``Introduce`` has an agent say what it has said before.
- ``Welcome`` answers a challenge that is used once (:mod:`labapi.agent.link.trust`).
- ``LeaseKeys`` repeats a number that is used once (:mod:`labapi.agent.link.lease_keys`).

Expiry is judged by the conductors' clock, as the agent knows it from the answer to its challenge:
lab machines' own clocks may be wrong by any amount. Conductors' clocks may differ from one another
by ``TOLERANCE``; with it, a command lives much shorter than the journal remembers.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from oslo_log import log

from labapi.exceptions import ConfigError
from labapi.rpc.messages import MAX_TRUSTED
from labapi.rpc.tally import Tally

LOG = log.getLogger(__name__)

KEY = "labapi-key"
ISSUED = "labapi-issued"
EXPIRES = "labapi-expires"
SIGNATURE = "labapi-signature"

TTL = 60.0  # seconds that a command lives which does not say how long
TOLERANCE = 60.0  # seconds by which conductors' clocks may differ
UNKNOWN_KEY = "signed with a key that is not among [agent] trusted_keys"
_CONTEXT = b"labapi command 1\n"  # a signature made for something else does not count here
# A file of a key is one line; 32 bytes in base64, those of a private key being its seed.
_KEY = re.compile(rb"labapi-ed25519-(private|public) ([A-Za-z0-9+/]{43}=)\s*")
_TIME = re.compile(r"[0-9]{1,12}\.[0-9]{3}", re.ASCII)


class Signer:
    """Signs with a conductor's key.

    :param key: the private key
    :ivar id: the short name of the key
    """

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.id = key_id(key.verify_key)

    def headers(self, body: bytes, ttl: float | None) -> dict[str, str]:
        """Return the headers that make a command of a body.

        :param ttl: seconds from now on that it lives
        """
        now = time.time()
        issued, expires = f"{now:.3f}", f"{now + (ttl or TTL):.3f}"
        signature = self._key.sign(_signed(issued, expires, body)).signature
        return {
            KEY: self.id,
            ISSUED: issued,
            EXPIRES: expires,
            SIGNATURE: base64.b64encode(signature).decode(),
        }


class Verifier:
    """Says which messages come from a conductor.

    :param keys: public keys of conductors
    :param expired: says whether a time of the conductors' clock has passed; None where it does not
        matter. It may raise :class:`~labapi.exceptions.Unavailable`: the message comes again.
    :ivar unknown: called with the body of a message that another key has signed, or pretends to
    """

    def __init__(
        self, keys: Iterable[VerifyKey], expired: Callable[[float], bool] | None = None
    ) -> None:
        self.trust(keys)
        self.unknown: Callable[[bytes], None] = lambda _: None
        self._expired = expired
        self._refused = Tally()

    def trust(self, keys: Iterable[VerifyKey]) -> None:
        """Trust these keys from now on, and no others."""
        self._keys = {key_id(key): key for key in keys}

    @property
    def keys(self) -> list[str]:
        """The short names of the keys that are trusted."""
        return sorted(self._keys)

    def accepts(self, body: bytes, headers: Mapping[str, Any]) -> bool:
        """Say whether a message counts; if not, the log says why, once a minute for each cause."""
        cause = self._objection(body, headers)
        if cause is None:
            return True
        if so_far := self._refused.add(cause):
            LOG.error("commands refused: %s (%d so far)", cause, so_far)
        if cause == UNKNOWN_KEY:
            self.unknown(body)
        return False

    def _objection(self, body: bytes, headers: Mapping[str, Any]) -> str | None:
        name, issued, expires, signature = map(headers.get, (KEY, ISSUED, EXPIRES, SIGNATURE))
        if not (isinstance(name, str) and isinstance(issued, str)):
            return "not signed"
        if not (isinstance(expires, str) and isinstance(signature, str)):
            return "not signed"
        key = self._keys.get(name)
        if key is None:
            return UNKNOWN_KEY
        if not (_TIME.fullmatch(issued) and _TIME.fullmatch(expires)):
            return "the signature is wrong"
        try:
            key.verify(_signed(issued, expires, body), base64.b64decode(signature, validate=True))
        except (BadSignatureError, ValueError):
            return "the signature is wrong"
        if self._expired is not None and self._expired(float(expires) + TOLERANCE):
            return "expired: too late, or repeated"
        return None


def key_id(key: VerifyKey) -> str:
    """Return the short name of a key: the beginning of its digest."""
    return hashlib.sha256(bytes(key)).hexdigest()[:16]


def create_key(private: Path, public: Path) -> str:
    """Write a new pair of keys, the private one readable for its owner only; return its name.

    :raises ConfigError: a file is there already, or cannot be written
    """
    key = SigningKey.generate()
    secret, known = _line("private", bytes(key)), _line("public", bytes(key.verify_key))
    for file, text, mode in ((private, secret, 0o600), (public, known, 0o644)):
        try:
            # Never over a file that is there: a key that is gone cannot be had again.
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
                out.write(text)
        except FileExistsError:
            raise ConfigError(
                f"{file} is there already, and no key is written over; to replace a key, make the"
                f" new one beside it: labapi-manage key create {_beside(private)}, then follow"
                ' "Another key" in docs/deploy.md'
            ) from None
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from error
    return key_id(key.verify_key)


def signer(file: str | None) -> Signer | None:
    """Return the signer with the private key in a file, None if no file is given.

    :raises ConfigError: it cannot be read, others can read it too, or it holds no such key
    """
    if not file:
        return None
    option = "[conductor] signing_key"
    if stat.S_IMODE(_stat(file, option)) & 0o077:
        raise ConfigError(f"{option}: others can use {file}; run: chmod 600 {file}")
    return Signer(SigningKey(_key(file, option, "private")))


def public_line(file: str) -> str:
    """Return what the file of the public key says that belongs to a private one.

    :raises ConfigError: the file of the private key cannot be read or holds no such key
    """
    key = SigningKey(_key(file, "[conductor] signing_key", "private"))
    return _line("public", bytes(key.verify_key)).decode().strip()


def trusted(files: Iterable[str]) -> list[VerifyKey]:
    """Return the public keys in some files.

    :raises ConfigError: one cannot be read or holds no such key, or there are too many
    """
    keys = [VerifyKey(_key(file, "[agent] trusted_keys", "public")) for file in files]
    if len(keys) > MAX_TRUSTED:
        raise ConfigError(f"[agent] trusted_keys names {len(keys)} keys; at most {MAX_TRUSTED}")
    return keys


def trusts(trusted: Collection[str] | None, key: str | None) -> bool:
    """Say whether an agent obeys commands that are signed with a key.

    :param trusted: short names of the keys that it trusts; None if it does not say, or obeys all
    :param key: short name of the key that signs, None if none does
    """
    return trusted is None or key in trusted


def key_of(signer: Signer | None) -> str | None:
    """Return the short name of the key that signs, None if none does."""
    return signer.id if signer is not None else None


def _beside(private: Path) -> Path:
    """Return a name for another key beside this one that is free."""
    numbered = (private.with_name(f"{private.stem}-{n}{private.suffix}") for n in count(2))
    return next(file for file in numbered if not file.exists())


def _signed(issued: str, expires: str, body: bytes) -> bytes:
    return _CONTEXT + f"{issued}\n{expires}\n".encode() + body


def _line(kind: str, key: bytes) -> bytes:
    return f"labapi-ed25519-{kind} {base64.b64encode(key).decode()}\n".encode()


def _key(file: str, option: str, kind: str) -> bytes:
    """Return the 32 bytes in the file of a key.

    :param kind: ``private`` or ``public``
    :raises ConfigError: it cannot be read, or holds no such key
    """
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {file}: {error.strerror}") from error
    found = _KEY.fullmatch(text)
    if found is None or found[1].decode() != kind:
        pem = " (it is in PEM form)" if text.startswith(b"-----BEGIN ") else ""
        raise ConfigError(f"{option}: {file} holds no {kind} key of labapi-manage key create{pem}")
    return base64.b64decode(found[2])


def _stat(file: str, option: str) -> int:
    try:
        return Path(file).stat().st_mode
    except OSError as error:
        raise ConfigError(f"{option}: {file}: {error.strerror}") from error
