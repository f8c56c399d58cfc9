"""Building what a Paste file assembles: PasteDeploy, with errors that say where they come from.

Three things differ from ``paste.deploy.loadapp``. The files are read once and their texts kept, so
that what was built can be built again though somebody has edited the files since. Whatever a
factory raises, ``SystemExit`` included, becomes one line with file, section and factory. And
``filter-with`` works in front of a pipeline.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from paste.deploy import loadwsgi

from labapi.exceptions import ConfigError
from labapi.pipeline.check import foreign
from labapi.pipeline.check.factory import module_of
from labapi.pipeline.check.file import contents, relative_to
from labapi.pipeline.check.finding import printable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Texts(dict[str, str]):
    """Texts of files by their paths, each read when it is first asked for."""

    def __missing__(self, path: str) -> str:
        """Read a file that the check had no need to look at.

        :raises OSError: it cannot be read
        """
        text = self[path] = contents(path).decode()
        return text


def build(path: str, given: Mapping[str, str], texts: Texts) -> WSGIApplication:
    """Return the application ``main`` of a Paste file.

    :param given: what the program adds to ``[DEFAULT]``
    :param texts: of the files, as far as they are known; the others are read and added
    :raises ConfigError: it cannot be built; the text says where and why
    """
    with saying(path):
        loader = _Loader(path, given, texts)
        app: WSGIApplication = loader.get_context(loadwsgi.APP, "main", dict(given)).create()
    return app


@contextmanager
def saying(place: str) -> Iterator[None]:
    """Turn whatever is raised into a :class:`ConfigError` of one line that begins with a place."""
    try:
        yield
    except ConfigError:
        raise  # it names a place that is nearer
    except (Exception, SystemExit) as error:
        words = " ".join(str(error).split())
        # The texts of these two are meant for people; of others the kind says the most.
        kind = "" if words and isinstance(error, ValueError | LookupError) else _kind(error)
        said = ": ".join(part for part in (place, kind, words) if part)
        raise ConfigError(printable(said)) from error


def _kind(error: BaseException) -> str:
    return type(error).__name__


class _Loader(loadwsgi.ConfigLoader):  # type: ignore[misc]  # no type information
    def __init__(self, path: str, given: Mapping[str, str], texts: Texts) -> None:
        self.filename = path
        self._texts = texts
        absolute = os.path.abspath(path)
        defaults = {"here": os.path.dirname(absolute), "__file__": absolute}
        self.parser = loadwsgi.NicerConfigParser(path, defaults=defaults)
        self.parser.optionxform = str
        self.parser.read_string(texts[path], path)
        self.update_defaults(given, overwrite=False)

    def get_context(
        self, object_type: Any, name: str | None = None, global_conf: Any = None
    ) -> loadwsgi.LoaderContext:
        """Return what a section says, with factories that tell where they stand."""
        if name is not None and name.lower().startswith("config:"):
            return self._of_other_file(object_type, name, global_conf)
        if self.absolute_name(name):
            return super().get_context(object_type, name, global_conf)
        with saying(self.filename):
            section = self.find_config_section(object_type, name=name)
        place = f"{self.filename}: [{section}]"
        with saying(place):
            context = super().get_context(object_type, name, global_conf)
        if context.object is not None:
            context.object = _Factory(context, place)
        if object_type is loadwsgi.APP and context.object_type is loadwsgi.FILTER_WITH:
            context.object_type = _FILTERED_APP
        return context

    def _of_other_file(self, object_type: Any, name: str, global_conf: Any) -> Any:
        path, _, section = name.partition(":")[2].partition("#")
        path = relative_to(self.filename, unquote(path))
        with saying(path):
            other = _Loader(path, global_conf or {}, self._texts)
            return other.get_context(object_type, section or "main", global_conf)


class _FilteredApp(loadwsgi._FilterWith):  # type: ignore[misc]  # no type information
    """What ``filter-with`` makes of an application; Paste takes a pipeline for a filter there."""

    def invoke(self, context: loadwsgi.LoaderContext) -> Any:
        """Build the application, and the filter in front of it."""
        application = context.next_context.create()
        return context.filter_context.create()(application)


_FILTERED_APP = _FilteredApp()


class _Factory:
    """A factory in its place.

    :param context: whose factory it is, and which knows its protocol by the time of the call
    """

    def __init__(self, context: loadwsgi.LoaderContext, place: str) -> None:
        # A section that uses another one is nearer to what its author can change.
        inner = context.object
        self._factory: Any = inner._factory if isinstance(inner, _Factory) else inner
        self._context = context
        self._place = f"{place}: {_name(self._factory)}"

    def __call__(self, *args: Any, **local: str) -> Any:
        own = foreign.own_configuration(module_of(self._factory), {**args[-1], **local})
        with saying(self._place):
            made = self._factory(*args, **local, **own)
            if self._context.protocol != "paste.filter_factory":
                return made
            if not callable(made):
                raise TypeError(f"returned {made!r}, which is not a filter")
        return self._guarded(made)

    def _guarded(self, wrap: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def guarded(app: Any) -> Any:
            with saying(self._place):
                return wrap(app)

        return guarded


def _name(factory: Any) -> str:
    module, name = getattr(factory, "__module__", ""), getattr(factory, "__qualname__", "")
    return f"{module}:{name}" if module and name else repr(factory)
