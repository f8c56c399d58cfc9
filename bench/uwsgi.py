"""uWSGI as one process of one application, the same for every application."""

from __future__ import annotations

from pathlib import Path

# With the lock, one thread waits for a request. Without, all wake for each and contend for the
# interpreter: a third more CPU.
THREADS = ("--threads", "4", "--thunder-lock")


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
        *("--master", "--processes", "1", *THREADS, "--lazy-apps"),
        *("--disable-logging", "--die-on-term"),
    ]
