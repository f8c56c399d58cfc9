"""What every filter here shares: typed options and a Paste factory.

A filter is a class that names its options and takes ``(app, conf)``::

    REALM = Option("realm", "labapi", text, "What the client is asked to log in to.")


    class Example(Filter):
        \"\"\"Do one thing to a request.\"\"\"

        name = "example"
        options = (REALM,)

        def __init__(self, app: WSGIApplication, conf: Conf) -> None:
            super().__init__(app, conf)
            self.realm = conf[REALM]


    filter_factory = factory(Example)

Options follow Swift's conventions: snake_case, lists separated by commas, values that ``[DEFAULT]``
(or ``set option = value``) gives are honoured, an option of the section itself that the filter
does not know is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from labapi_middleware.contract import Advice, Need
from labapi_middleware.option_values import boolean, choice, comma_list, integer, seconds, text
from labapi_middleware.unknown_option import unknown

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# What a filter is written with, parsers of option values included.
__all__ = ["Conf", "Filter", "FilterFactory", "Option", "OptionError", "described", "factory"]
__all__ += ["boolean", "choice", "comma_list", "integer", "seconds", "text"]

T = TypeVar("T")

LOG = logging.getLogger(__name__)

# Swift adds the name of the section to its options.
SECTION = "__name__"


class OptionError(ValueError):
    """An option of a filter that is unknown or has a value that cannot be used.

    :ivar filter: the filter's name
    :ivar option: the option's name
    :ivar problem: what is wrong and what was expected, one line
    """

    def __init__(self, filter: str, option: str, problem: str) -> None:
        super().__init__(f"filter {filter}: option '{option}': {problem}")
        self.filter = filter
        self.option = option
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Option(Generic[T]):
    """One option of a filter, or a family of options.

    :param name: snake_case, as written in the file; ``rule_*`` is a family, of which each
        ``rule_<something>`` in the file is a member (see :meth:`Conf.members`)
    :param default: the default as it would be written in the file
    :param parse: makes the value from its text; a ``ValueError`` says what was expected
    :param help: one sentence for the operator
    :param secret: never shown, in a log or by ``labapi-manage pipeline show``
    """

    name: str
    default: str
    parse: Callable[[str], T]
    help: str
    secret: bool = False

    @property
    def is_family(self) -> bool:
        """Say whether this is a family of options."""
        return self.name.endswith("*")

    def covers(self, name: str) -> bool:
        """Say whether an option of the file is this one or one of this family."""
        if self.is_family:
            return name.startswith(self.name[:-1]) and len(name) >= len(self.name)
        return name == self.name


class Conf:
    """The options that one filter runs with, typed: ``conf[OPTION]``, ``conf.members(FAMILY)``.

    :param name: the filter's name, for error messages
    :param options: the options that the filter knows
    :param local_conf: the options of the filter's own section
    :param global_conf: ``[DEFAULT]`` and what the section set with ``set option = value``
    :raises OptionError: an unknown option in ``local_conf``, or a value that cannot be used
    """

    def __init__(
        self,
        name: str,
        options: Iterable[Option[Any]],
        local_conf: Mapping[str, str],
        global_conf: Mapping[str, str] | None = None,
    ) -> None:
        known = tuple(options)
        for given in local_conf:
            if given != SECTION and not any(option.covers(given) for option in known):
                raise OptionError(name, given, unknown(given, [o.name for o in known]))
        # What the server says of itself (Swift: log_level; labapi: listen) and the options of
        # other filters are in [DEFAULT] too, so only names this filter knows are read from it.
        self.written = {**(global_conf or {}), **local_conf}
        self._name = name
        self._values: dict[str, Any] = {}
        for option in known:
            if option.is_family:
                self._values[option.name] = {
                    given[len(option.name) - 1 :]: self._parsed(option, given, written)
                    for given, written in self.written.items()
                    if option.covers(given)
                }
            else:
                written = self.written.get(option.name, option.default)
                self._values[option.name] = self._parsed(option, option.name, written)
        LOG.debug("filter %s runs with %s", name, {o.name: self.shown(o) for o in known})

    def _parsed(self, option: Option[T], given: str, written: str) -> T:
        try:
            return option.parse(written)
        except ValueError as error:
            shown = "" if option.secret else f"{written!r}: "
            raise OptionError(self._name, given, f"{shown}{error}") from error

    def shown(self, option: Option[Any]) -> str:
        """Return an option's value as text that may be shown: secrets are masked."""
        if option.secret:
            return "***"
        if option.is_family:
            return "; ".join(
                f"{given} = {written}"
                for given, written in self.written.items()
                if option.covers(given)
            )
        return self.written.get(option.name, option.default)

    def members(self, family: Option[T]) -> dict[str, T]:
        """Return the members of a family: the part of the name behind the prefix, and the value."""
        values: dict[str, T] = self._values[family.name]
        return values

    def __getitem__(self, option: Option[T]) -> T:
        value: T = self._values[option.name]
        return value


class Filter:
    """A WSGI filter: answers, or delegates to ``self.app``.

    :param app: the application or filter to the right in the pipeline
    :param conf: the filter's options, parsed
    :cvar removed: what to write instead of options that earlier releases had
    """

    name: ClassVar[str]
    options: ClassVar[tuple[Option[Any], ...]] = ()
    removed: ClassVar[Mapping[str, str]] = MappingProxyType({})
    gives: ClassVar[str] = ""
    repeatable: ClassVar[bool] = False

    def __init__(self, app: WSGIApplication, conf: Conf) -> None:
        self.app = app

    @classmethod
    def check(cls, conf: Conf) -> None:
        """Check that the options fit together, and that the files they name are there.

        :raises OptionError: the filter cannot work like this
        """

    @classmethod
    def needs(cls, conf: Conf) -> tuple[Need, ...]:
        """Return what filters to the left have to give."""
        return ()

    @classmethod
    def advice(cls, conf: Conf) -> Iterable[Advice]:
        """Return what works, and is probably a mistake."""
        return ()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request or hand it on."""
        raise NotImplementedError


class FilterFactory(Protocol):
    """What Paste calls; its attributes describe the filter to tools (:mod:`contract`)."""

    options: tuple[Option[Any], ...]
    gives: str
    repeatable: bool
    needs: Callable[..., tuple[Need, ...]]
    advice: Callable[..., Iterable[Advice]]
    name: str

    def __call__(
        self, global_conf: Mapping[str, str] | None, **local_conf: str
    ) -> Callable[[WSGIApplication], Filter]:
        """Check the options and return what wraps an application."""
        ...


def factory(cls: type[Filter]) -> FilterFactory:
    """Return the ``paste.filter_factory`` of a filter class.

    Options are parsed when Paste calls the factory, so that a mistake stops the start of the
    server and not its first request.
    """

    def filter_factory(
        global_conf: Mapping[str, str] | None, **local_conf: str
    ) -> Callable[[WSGIApplication], Filter]:
        for gone in cls.removed.keys() & local_conf.keys():
            raise OptionError(cls.name, gone, cls.removed[gone])
        conf = Conf(cls.name, cls.options, local_conf, global_conf)
        cls.check(conf)
        return lambda app: cls(app, conf)

    return described(filter_factory, cls)


def described(build: Callable[..., Any], cls: type[Filter]) -> FilterFactory:
    """Put on a factory what tools ask it about the filter."""
    told = {
        "name": cls.name,
        "options": cls.options,
        "gives": cls.gives,
        "repeatable": cls.repeatable,
        "needs": lambda given, **own: cls.needs(Conf(cls.name, cls.options, own, given)),
        "advice": lambda given, **own: cls.advice(Conf(cls.name, cls.options, own, given)),
    }
    vars(build).update(told)
    return build  # type: ignore[return-value]
