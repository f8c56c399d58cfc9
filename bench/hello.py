"""The least that an answer costs under eventlet's server, set up as ``labapi-api`` sets it up.

python -m bench.hello PORT
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

warnings.filterwarnings("ignore", message="\\s*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import eventlet.wsgi  # noqa: E402

BODY = b'{"hello": "world"}'


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]
    )
    return [BODY]


if __name__ == "__main__":
    listener = eventlet.listen(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    eventlet.wsgi.server(listener, application, keepalive=True, log_output=False, debug=False)
