"""What counts as an ssh public key: one line of ``authorized_keys`` without options.

Whoever may write such a line as it likes can name options and further keys in it. So it is taken
apart, and only its type and its bytes, which have to agree, are ever written.
"""

from __future__ import annotations

import base64
import binascii
import re

from labapi.exceptions import InvalidInput

TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
# Characters of a key with its comment; RSA with 16384 bits takes 2800.
MAX_KEY = 4096

_LINE = re.compile(r"(?P<type>[a-z0-9@.-]+) (?P<key>[A-Za-z0-9+/]+={0,2})(?: [\x20-\x7e]*)?")


def read(text: str) -> str:
    """Return the type and the bytes of a key as ``authorized_keys`` has them, without comment.

    :raises InvalidInput: it is no public key; the text says why
    """
    if len(text) > MAX_KEY:
        raise InvalidInput(f"a public key has at most {MAX_KEY} characters, not {len(text)}")
    line = _LINE.fullmatch(text)
    if line is None:
        raise InvalidInput(
            "expected the one line of a public key file, 'TYPE BASE64 COMMENT', without options"
        )
    if line["type"] not in TYPES:
        raise InvalidInput(f"the type {line['type'][:64]!r} is none of {', '.join(TYPES)}")
    try:
        inside = base64.b64decode(line["key"], validate=True)
    except binascii.Error:
        raise InvalidInput("what follows the type is not base64") from None
    kind = line["type"].encode()
    # Inside, too, the type comes first: its length in four bytes, then its name.
    if not inside.startswith(len(kind).to_bytes(4, "big") + kind) or len(inside) < len(kind) + 36:
        raise InvalidInput(f"what follows the type is no key of type {line['type']}")
    return f"{line['type']} {line['key']}"
