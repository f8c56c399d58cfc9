"""Where the guard of a Swift proxy stands: in ``swift.authorize``, at every link of the pipeline.

Authentication, ``tempurl`` and Swift's own requests put their hooks there, each at its place; the
proxy calls the hook, and so do some filters. A checkpoint between two filters sees to it that the
hook is guarded by then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from swift.common.swob import HTTPForbidden
from swift.common.utils import split_path
from swift.common.wsgi import ConfigFileError
from swift.proxy.controllers.container import ContainerController

from labapi_middleware.filter import OptionError
from labapi_middleware.ip_whitelist import NAME
from labapi_middleware.swift.guard import ContainerGuard

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Swift's own filters that must stand to the right, by class, as Swift itself looks for one.
_RIGHT_OF_US = frozenset(
    {"Bulk", "TempURL", "FormPost", "S3ApiMiddleware", "TempAuth", "KeystoneAuth", "StaticWeb"}
)
_LAST = "ProxyLoggingMiddleware"
# It redirects whoever the hook lets pass, and leaves the proxy out of it.
_ASKS_ITSELF = "StaticWeb"


class SwiftOptionError(OptionError, ConfigFileError):  # type: ignore[misc] # Swift has no types
    """A wrong option, told to the operator as Swift tells its own: one line, no traceback."""


class Authorize:
    """``swift.authorize`` as authentication has set it, and the guard after it.

    :param guard: asked when authentication has said yes
    :param before: the hook of authentication, or None
    """

    def __init__(self, guard: ContainerGuard, before: Any) -> None:
        self._guard = guard
        self._before = before

    def __call__(self, request: Any) -> Any:
        """Return a response that refuses the request, or None."""
        return self.without_guard(request) or self._guard(request)

    def without_guard(self, request: Any) -> Any:
        """Return what authentication says."""
        return self._before(request) if self._before is not None else None


class SecondTime:
    """The hook for reading a container, of which Swift asks twice.

    Swift takes a first no for "ask again with the container's ACL", reads the container, and asks
    again. So a first no is always safe here, and the guard that is asked the second time finds
    what Swift has just read: that spares a look-up, and cannot be stale.

    :param authorize: the hook
    """

    possible = all(
        getattr(handler, "delay_denial", False)
        for handler in (ContainerController.GET, ContainerController.HEAD)
    )

    def __init__(self, authorize: Authorize) -> None:
        self.authorize = authorize
        self._asked = False

    def __call__(self, request: Any) -> Any:
        """Return a response that refuses the request, always the first time, or None."""
        if self._asked:
            return self.authorize(request)
        self._asked = True
        return self.authorize.without_guard(request) or HTTPForbidden(request=request)


def reads_container(environ: WSGIEnvironment) -> bool:
    """Say whether a request reads a container: its listing or its metadata."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return False
    try:
        _, _, _, obj = split_path(environ["PATH_INFO"], 3, 4, True)
    except ValueError:
        return False
    return not obj


class Checkpoint:
    """Stands between two filters and makes sure that ``swift.authorize`` is guarded.

    :param last: nothing but the proxy itself is to the right
    """

    def __init__(self, app: Any, guard: ContainerGuard, *, last: bool) -> None:
        self.app = app
        self._guard = guard
        self._last = last

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Guard the hook and hand the request on."""
        hook = environ.get("swift.authorize")
        if self._last or not (hook is None or isinstance(hook, Authorize | SecondTime)):
            environ["swift.authorize"] = self._guarded(hook, environ)
        result: Iterable[bytes] = self.app(environ, start_response)
        return result

    def _guarded(self, hook: Any, environ: WSGIEnvironment) -> Authorize | SecondTime:
        if isinstance(hook, SecondTime):  # of a request that this one is made of
            hook = hook.authorize
        authorize = hook if isinstance(hook, Authorize) else Authorize(self._guard, hook)
        if self._last and SecondTime.possible and reads_container(environ):
            return SecondTime(authorize)
        return authorize

    def __getattr__(self, name: str) -> Any:
        # Filters ask their right neighbour what Swift has told it about the pipeline.
        return getattr(self.app, name)


def place_checkpoints(pipeline: list[Any], us: Any, guard: ContainerGuard) -> None:
    """Put a checkpoint at every link to the right.

    :param pipeline: the filters as they stand, and the proxy itself last
    :raises SwiftOptionError: the filter, or ``proxy-logging``, stands in the wrong place
    """
    here = next(place for place, element in enumerate(pipeline) if element is us)
    for element in pipeline[:here]:
        if type(element).__name__ in _RIGHT_OF_US:
            raise _misplaced(f"expected {NAME} to the left of {type(element).__name__}")
    last = pipeline[-2]
    if type(last).__name__ != _LAST:
        raise _misplaced("expected proxy-logging as the last filter before proxy-server")
    for left, right in itertools.pairwise(pipeline[here + 1 :]):
        neighbour = getattr(left, "app", None)
        if neighbour is right:
            left.app = Checkpoint(right, guard, last=left is last)
        elif isinstance(neighbour, Checkpoint):
            raise _misplaced(f"expected {NAME} with this source only once")
        elif left is last or type(right).__name__ == _ASKS_ITSELF:
            between = f"{type(left).__name__} and {type(right).__name__}"
            raise _misplaced(f"cannot stand guard between {between}")


def _misplaced(problem: str) -> SwiftOptionError:
    return SwiftOptionError(NAME, "pipeline", problem)
