"""``/limits``: what the rate limit leaves this client."""

from __future__ import annotations

import webob

from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response

# The ``ratelimit`` filter leaves a function here that asks its storage.
ENVIRON_KEY = "labapi.ratelimit"


class Limits(Controller):
    """The controller of limits."""

    def index(self, request: Request) -> webob.Response:
        """Show the rules that count this client, and what they leave it."""
        request.query()
        left = request.environ.get(ENVIRON_KEY)
        return json_response({"limits": {"rate": left() if left is not None else []}})
