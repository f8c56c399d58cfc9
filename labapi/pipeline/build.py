"""Building what a Paste file assembles, so that whatever a factory raises tells where it is from.

Paste calls one factory after the other and lets their exceptions through as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from paste.deploy import loadwsgi

from labapi.pipeline.check.file import is_config, relative_to
from labapi.pipeline.check.finding import Finding, Place
from labapi.pipeline.check.options import raised

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class NotBuilt(Exception):
    """A factory that raises; the text is one line with file, section and factory.

    :ivar finding: the same
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


def build(path: str, given: Mapping[str, str], name: str = "main") -> WSGIApplication:
    """Return the application that a file describes.

    :param given: what the program adds to ``[DEFAULT]``
    :raises NotBuilt: a factory raises, whatever it is, ``SystemExit`` included
    """
    app: WSGIApplication = _Loader.of(path, given).get_app(name, global_conf=dict(given))
    return app


class _Loader(loadwsgi.ConfigLoader):  # type: ignore[misc]  # no type information
    """Paste's loader of a file, which guards each factory."""

    @classmethod
    def of(cls, path: str, given: Mapping[str, str]) -> _Loader:
        loader = cls(path)
        loader.update_defaults(given, overwrite=False)
        return loader

    def get_context(self, object_type: Any, name: Any = None, global_conf: Any = None) -> Any:
        """Find a factory; one that the file names without a section, too."""
        if not self.absolute_name(name):
            return super().get_context(object_type, name, global_conf)
        if is_config(name):
            path, _, section = name.partition(":")[2].partition("#")
            other = self.of(relative_to(self.filename, unquote(path)), global_conf or {})
            return other.get_context(object_type, section or "main", global_conf)
        context = super().get_context(object_type, name, global_conf)
        return _guard(context, Place(self.filename), name)

    def _context_from_use(
        self, object_type: Any, local: Any, given: Any, added: Any, section: str
    ) -> Any:
        context = super()._context_from_use(object_type, local, given, added, section)
        inner = getattr(context.object, "guards", None)
        if inner is None or (object_type is not loadwsgi.FILTER and inner.place.section):
            return context
        context.object = inner.call
        return _guard(context, Place(self.filename, section, "use"), inner.text)

    def _context_from_explicit(
        self, object_type: Any, local: Any, given: Any, added: Any, section: str
    ) -> Any:
        written = dict(local)
        context = super()._context_from_explicit(object_type, local, given, added, section)
        place = Place(self.filename, section, context.protocol)
        return _guard(context, place, written[context.protocol])


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A factory and where it is from."""

    call: Callable[..., Any]
    place: Place
    text: str


def _guard(context: Any, place: Place, text: str) -> Any:
    # A filter's factory gives a function, and that one gets the application.
    waits = context.protocol == "paste.filter_factory"
    context.object = _guarded(_Guarded(context.object, place, text), waits=waits)
    return context


def _guarded(factory: _Guarded, *, waits: bool) -> Any:
    """Return a factory that raises :class:`NotBuilt` and nothing else."""

    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            made = factory.call(*args, **kwargs)
        except NotBuilt:
            raise
        except (Exception, SystemExit) as error:
            raise NotBuilt(raised(factory.place, factory.text, error)) from error
        return _guarded(dataclasses.replace(factory, call=made), waits=False) if waits else made

    guarded.guards = factory  # type: ignore[attr-defined]
    return guarded
