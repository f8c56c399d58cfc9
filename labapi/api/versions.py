"""What versions of the API there are: the document at ``/``, mounted beside the API itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import webob

from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.router import Route, Router
from labapi.pipeline.contract import described, no_options

VERSION = "v2.1"


def _document(request: Request) -> dict[str, Any]:
    return {
        "id": VERSION,
        "status": "CURRENT",
        "links": [{"rel": "self", "href": f"{request.host_url}/{VERSION}/"}],
    }


class Versions(Controller):
    """The controller of version documents.

    :param table: the URLs that it describes
    """

    def __init__(self, table: Sequence[Route]) -> None:
        self._table = table

    def index(self, request: Request) -> webob.Response:
        """List the versions."""
        request.query()
        return json_response({"versions": [_document(request)]})

    def show(self, request: Request) -> webob.Response:
        """Describe the version of the API that this URL belongs to, and list its URLs."""
        request.query()
        urls = [
            {"url": f"{request.script_name}{route.path}".rstrip("/"), "methods": [*route.actions]}
            for route in self._table
        ]
        return json_response({"version": {**_document(request), "urls": urls}})


_check = no_options("versions")


@described(_check)
def app_factory(global_conf: Mapping[str, str], **local_conf: str) -> Router:
    """Return the application of ``/``; it takes no options."""
    _check(global_conf, **local_conf)
    return Router([Route("/", Versions, {"GET": "index"})], {})
