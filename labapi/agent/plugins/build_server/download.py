"""Download an archive: a program of its own, which ``build_server`` runs.

``python -I download.py URL FILE``: FILE is made. Only the standard library is used, so that it runs
as any user. Exit status 1, and one line, if it cannot be done.
"""

from __future__ import annotations

import http.client
import sys
import urllib.request
from typing import IO

MAX_DOWNLOAD = 2 * 1024**3  # bytes of an archive
TIMEOUT = 30.0  # seconds without a byte after which a server counts as silent
READ = 1024 * 1024  # bytes read at once


def download(url: str, target: IO[bytes]) -> None:
    """Write what a URL gives to a file.

    :raises ValueError: it is too large
    :raises OSError: it cannot be downloaded
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        # Only these: a redirect to file: or ftp: is not followed.
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    size = 0
    with opener.open(url, timeout=TIMEOUT) as answer:
        while piece := answer.read(READ):
            size += len(piece)
            if size > MAX_DOWNLOAD:
                raise ValueError(f"the archive is larger than {MAX_DOWNLOAD} bytes")
            target.write(piece)


if __name__ == "__main__":
    try:
        with open(sys.argv[2], "xb") as file:
            download(sys.argv[1], file)
    except (OSError, ValueError, http.client.HTTPException) as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
