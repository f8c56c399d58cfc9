"""The application at the end of the pipeline: finds the controller and answers with its word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import routes
import webob
from oslo_context import context as oslo_context

from labapi.api import faults
from labapi.api.faults import HTTPFault
from labapi.api.routes import Route
from labapi.api.wsgi import Request
from labapi.exceptions import LabapiError, NotFound

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Action = Callable[..., webob.Response]

# Where the route's template stands for filters that label by it.
ROUTE_KEY = "labapi.route"


class Router:
    """A WSGI application that maps URLs to controllers.

    :param table: the URLs
    :param controllers: the objects that the table names
    """

    def __init__(self, table: Iterable[Route], controllers: Mapping[str, Any]) -> None:
        self._mapper = routes.Mapper(controller_scan=None, register=False)
        self._actions: dict[str, dict[str, Action]] = {}
        for route in table:
            actions = {
                method: getattr(controllers[controller], action)
                for method, (controller, action) in route.actions.items()
            }
            if "GET" in actions:
                actions["HEAD"] = actions["GET"]
            self._actions[route.path] = actions
            self._mapper.connect(None, route.path, template=route.path)
        self._mapper.create_regs([])

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        # What is logged from here on names the request.
        oslo_context.RequestContext(request_id=environ.get("labapi.request_id"))
        try:
            response = self._dispatch(request)
        except LabapiError as error:
            response = faults.response(error, environ)
            if response is None:
                raise
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _dispatch(self, request: Request) -> webob.Response:
        environ = request.environ
        found = self._mapper.match(_path(environ))
        if found is None:
            raise NotFound("there is no such URL here; GET /v2.1 and the API reference list them")
        template = found.pop("template")
        found.pop("controller", None)
        found.pop("action", None)
        environ[ROUTE_KEY] = f"{environ.get('SCRIPT_NAME', '')}{template}".rstrip("/")
        actions = self._actions[template]
        action = actions.get(request.method)
        if action is None:
            allowed = ", ".join(sorted(actions))
            raise HTTPFault(
                405,
                f"{request.method[:32]} does not work here; this URL takes {allowed}",
                {"Allow": allowed},
            )
        return action(request, **found)


def _path(environ: WSGIEnvironment) -> str:
    raw: str = environ.get("PATH_INFO", "")
    try:
        path = raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise NotFound("the URL's path is not UTF-8") from None
    return path.rstrip("/") or "/"
