"""A Paste composite that mounts applications under URL prefixes.

``[composite:main]``
    ``use = egg:labapi#urlmap``

    ``/PREFIX = NAME``
        The application, pipeline or composite NAME answers below PREFIX; the longest prefix wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from labapi.pipeline.contract import Advice, OptionError, described

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class URLMap:
    """Hands a request to the application with the longest matching prefix.

    :param applications: ``{prefix: application}``; the prefix ``/`` takes what no other takes
    """

    def __init__(self, applications: Mapping[str, WSGIApplication]) -> None:
        self._applications = sorted(
            ((prefix.rstrip("/"), app) for prefix, app in applications.items()),
            key=lambda item: len(item[0]),
            reverse=True,
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Move the prefix from ``PATH_INFO`` to ``SCRIPT_NAME`` and delegate."""
        path: str = environ.get("PATH_INFO", "")
        for prefix, application in self._applications:
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
                environ["PATH_INFO"] = path[len(prefix) :]
                return application(environ, start_response)
        start_response("404 Not Found", [("Content-Length", "0")])
        return []


def _check(global_conf: Mapping[str, str], **local_conf: str) -> None:
    for name in local_conf:
        if not name.startswith("/"):
            raise OptionError("urlmap", name, "expected a prefix such as /v2.1")
    if "/" not in local_conf:
        raise OptionError("urlmap", "/", "expected the application for what no prefix takes")


def _advice(global_conf: Mapping[str, str], **local_conf: str) -> Iterator[Advice]:
    first: dict[str, str] = {}
    for prefix in local_conf:
        other = first.setdefault(prefix.rstrip("/"), prefix)
        if other != prefix:
            yield Advice(prefix, f"this is the same prefix as {other}; only one of them answers")


@described(_check, advice=_advice)
def composite_factory(loader: Any, global_conf: Mapping[str, str], **local_conf: str) -> URLMap:
    """Return the map that a section describes.

    :raises ValueError: an option that is not a prefix, or no ``/``
    """
    _check(global_conf, **local_conf)
    return URLMap(
        {
            prefix: loader.get_app(name, global_conf=global_conf)
            for prefix, name in local_conf.items()
        }
    )
