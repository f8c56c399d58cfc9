"""uWSGI as one process of one application, the same for every application.

Requests are served by one thread: more of them hand the interpreter to one another, at half as much
CPU again for each request.
"""

from __future__ import annotations

from pathlib import Path


def command(programs: Path, port: int, application: str) -> list[str]:
    """Return the command line.

    Not ``--http11-socket``, which would spare the router: it gives the second and later requests
    of a kept-alive connection the client address 0.0.0.0 (uWSGI 2.0), so a filter that judges
    addresses refuses them.

    :param programs: the folder that uwsgi is in
    """
    return [
        str(programs / "uwsgi"),
        *("--http", f"127.0.0.1:{port}", "--http-keepalive=75", "--module", application),
        *("--master", "--processes", "1", "--enable-threads", "--lazy-apps"),
        *("--disable-logging", "--die-on-term"),
    ]
