"""``Idempotency-Key``: a POST that is sent again gets what the first one has made.

After draft-ietf-httpapi-idempotency-key-header: the key belongs to its project, and another body
under the same key is refused.
"""

from __future__ import annotations

import hashlib
import re

from labapi.api.request import Request
from labapi.exceptions import Conflict, InvalidInput

_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


def key_of(request: Request) -> str | None:
    """Return the digest of the request's project and key, None without a key.

    :raises InvalidInput: the key is not 1 to 255 visible ASCII characters
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise InvalidInput("Idempotency-Key: expected 1 to 255 visible ASCII characters")
    whose = request.context.project_id or ""
    return hashlib.sha256(f"{whose}\0{key}".encode()).hexdigest()


def columns(key: str | None, digest: str) -> dict[str, str | None]:
    """Return what a row keeps of the request that makes it.

    :param key: as :func:`key_of` returns it
    :param digest: of the request's body
    """
    return {"idempotency": key, "body_digest": digest if key else None}


def check_same(first: str | None, now: str) -> None:
    """Check that two bodies are the same, by their digests.

    :raises Conflict: they are not
    """
    if first != now:
        raise Conflict("this Idempotency-Key came with another body before; use a new key")
