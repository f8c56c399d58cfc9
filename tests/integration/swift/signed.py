"""Requests that take more than a line: signed URLs, forms, archives, S3."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import io
import json
import tarfile
import time
from collections.abc import Mapping

KEY = "the key of the account"
BOUNDARY = "the-form"


def temporary(path: str, method: str = "GET") -> str:
    """Return a path with the TempURL signature for a method."""
    expires = int(time.time()) + 3600
    signature = hmac.new(KEY.encode(), f"{method}\n{expires}\n{path}".encode(), "sha256")
    return f"{path}?temp_url_sig={signature.hexdigest()}&temp_url_expires={expires}"


def form(path: str, filename: str, content: bytes) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a FormPost upload to a path."""
    expires = int(time.time()) + 3600
    signed = f"{path}\n\n{1 << 20}\n1\n{expires}"
    fields = {
        "max_file_size": str(1 << 20),
        "max_file_count": "1",
        "expires": str(expires),
        "signature": hmac.new(KEY.encode(), signed.encode(), "sha256").hexdigest(),
    }
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'Content-Disposition: form-data; name="file1"; filename="{filename}"'
    parts.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n")
    body = b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])
    return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, body


def archive(names: Mapping[str, bytes]) -> bytes:
    """Return a tar archive with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def manifest(*paths: str) -> bytes:
    """Return the manifest of a static large object, without sizes and etags."""
    return json.dumps([{"path": path} for path in paths]).encode()


def md5(content: bytes) -> str:
    """Return the etag that Swift gives to a content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def s3(
    method: str, path: str, user: str, key: str, amz: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the headers of an S3 request, signed (version 2) for a user.

    :param amz: headers that start with ``x-amz-``, in lower case
    """
    date = email.utils.formatdate(usegmt=True)
    extra = "".join(f"{name}:{value}\n" for name, value in sorted((amz or {}).items()))
    signed = f"{method}\n\n\n{date}\n{extra}{path}"
    digest = hmac.new(key.encode(), signed.encode(), "sha1").digest()
    authorization = f"AWS {user}:{base64.b64encode(digest).decode()}"
    return {"Date": date, "Authorization": authorization, "Content-Type": "", **(amz or {})}
