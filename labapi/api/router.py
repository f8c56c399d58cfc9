"""The application at the end of the pipeline: finds the controller and returns its answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import routes
import webob
from oslo_context import context as oslo_context

from labapi.api import faults
from labapi.api.controllers import Controller
from labapi.api.faults import HTTPFault
from labapi.api.request import Request
from labapi.context import AUDIT, REQUEST_ID, ROUTE
from labapi.db.allowance import Allowance
from labapi.exceptions import LabapiError, NotFound

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Action = Callable[..., webob.Response]


@dataclass(frozen=True, slots=True)
class Route:
    """One URL.

    :ivar path: as Routes writes it, relative to where the application is mounted
    :ivar actions: ``{HTTP method: name of the controller's method}``
    """

    path: str
    controller: type[Controller]
    actions: Mapping[str, str]


class Router:
    """A WSGI application that maps URLs to controllers.

    :param table: the URLs
    :param parts: what the controllers can be built from, by the names in their ``__init__``; they
        are given ``table``, too
    :param database_time: seconds that a request may spend on the database
    """

    def __init__(
        self, table: Iterable[Route], parts: Mapping[str, Any], database_time: float = 10.0
    ) -> None:
        table = tuple(table)
        self._database_time = database_time
        parts = {**parts, "table": table}
        built = {cls: _build(cls, parts) for cls in {route.controller for route in table}}
        mapper = routes.Mapper(controller_scan=None, register=False)
        self._actions: dict[str, dict[str, tuple[str, Action]]] = {}
        for route in table:
            noun = route.controller.__name__.lower()
            actions = {
                method: (f"{noun}:{action}", getattr(built[route.controller], action))
                for method, action in route.actions.items()
            }
            if "GET" in actions:
                actions["HEAD"] = actions["GET"]
            self._actions[route.path] = actions
            mapper.connect(None, route.path)
        mapper.create_regs([])
        # Of Routes, only the expressions: its own way from a URL to a route takes five times as
        # long, for what no route here has (conditions, sub-domains, defaults).
        found = {route.routepath: route.regmatch.fullmatch for route in mapper.matchlist}
        self._fixed = {path for path in found if "{" not in path}
        self._templates = [(path, match) for path, match in found.items() if "{" in path]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        # What is logged from here on names the request.
        oslo_context.RequestContext(request_id=environ.get(REQUEST_ID))
        try:
            with Allowance(self._database_time):
                response = self._dispatch(request)
        except LabapiError as error:
            response = faults.response(error, environ)
            if response is None:
                raise
        answer: Iterable[bytes] = response(environ, start_response)
        return answer

    def _dispatch(self, request: Request) -> webob.Response:
        environ = request.environ
        template, found = self._match(_path(environ))
        environ[ROUTE] = f"{environ.get('SCRIPT_NAME', '')}{template}".rstrip("/")
        method = request.method
        actions = self._actions[template]
        if method not in actions:
            allowed = ", ".join(sorted(actions))
            raise HTTPFault(
                405,
                f"{method[:32]} does not work here; this URL takes {allowed}",
                {"Allow": allowed},
            )
        name, action = actions[method]
        audit = environ[AUDIT] = {"action": name, "target": "/".join(found.values())}
        response = action(request, **found)
        if method == "POST" and response.location:  # what was made has its name only now
            audit["target"] = response.location.rpartition("/")[2].rpartition("=")[2]
        return response

    def _match(self, path: str) -> tuple[str, dict[str, str]]:
        """Return the template of a path, and what stands in the places of its variables.

        :raises NotFound: there is no such URL
        """
        if path in self._fixed:
            return path, {}
        for template, match in self._templates:
            if found := match(path):
                return template, found.groupdict()
        raise NotFound("there is no such URL here; GET /v2.1 lists them all")


def _build(controller: type[Controller], parts: Mapping[str, Any]) -> Controller:
    wanted = inspect.signature(controller).parameters
    for name in wanted:
        if name not in parts:
            there = ", ".join(sorted(parts))
            raise TypeError(f"{controller.__name__} wants {name!r}; known: {there}")
    return controller(**{name: parts[name] for name in wanted})


def _path(environ: WSGIEnvironment) -> str:
    raw: str = environ.get("PATH_INFO", "")
    try:
        path = raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise NotFound("the URL's path is not UTF-8") from None
    return path.rstrip("/") or "/"
