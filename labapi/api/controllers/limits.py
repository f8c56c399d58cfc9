"""``/limits``: what the rate limit leaves this client."""

from __future__ import annotations

import webob

from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.context import RATELIMIT


class Limits(Controller):
    """The controller of limits."""

    def index(self, request: Request) -> webob.Response:
        """Show the rules that count this client, and what they leave it."""
        request.query()
        left = request.environ.get(RATELIMIT)  # asks the filter's storage
        return json_response({"limits": {"rate": left() if left is not None else []}})
