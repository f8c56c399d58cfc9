"""What a plugin is made of: a class, a decorator, an outcome."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from labapi.case import Result
from labapi.exceptions import ConfigError

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a method ended.

    :ivar result: ``PASS`` or ``FAIL``, the test's verdict; for the lab's own faults raise an error
    :ivar exit_code: of the process that the verdict comes from; -N if signal N ended it
    :ivar detail: one or two sentences for a person
    :ivar data: a JSON value
    :ivar captured: the beginning of the process's output, if ``execute`` was asked for it
    """

    result: Result | Literal["PASS", "FAIL"]
    exit_code: int | None = None
    detail: str | None = None
    data: Any = None
    captured: bytes = b""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a plugin.

    :ivar description: what it does and takes, for a person
    :ivar schema: JSON schema of the parameters, None if anything goes
    :ivar call: takes a ``Run`` and the parameters
    """

    description: str
    schema: Mapping[str, Any] | None
    call: Callable[..., Any]


def method(description: str, *, schema: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Mark a method of a plugin as one that cases may name.

    :param description: what it does and takes, for the person who reads ``GET /slaves``
    :param schema: JSON schema (2020-12) of the parameters; they are checked before anything is
        dispatched and again before the method is called
    """

    def mark(function: F) -> F:
        function._labapi_method = (description, schema)  # type: ignore[attr-defined]
        return function

    return mark


class Plugin:
    """A group of methods that cases may name.

    One object serves all cases, several at the same time: keep what belongs to one case in the
    method's own variables.
    """

    def methods(self) -> dict[str, Method]:
        """Return the marked methods by name.

        :raises ConfigError: a name, description or schema that cannot be used
        """
        found = {}
        for name, function in inspect.getmembers(self, callable):
            mark = getattr(function, "_labapi_method", None)
            if mark is None:
                continue
            description, schema = mark
            where = f"plugin {type(self).__module__}:{type(self).__name__}, method {name!r}"
            if not NAME.fullmatch(name):
                raise ConfigError(f"{where}: expected a name of a-z, 0-9 and _, at most 64 long")
            if not isinstance(description, str) or not description.strip():
                raise ConfigError(f"{where}: expected a description")
            if schema is not None and not isinstance(schema, Mapping):
                raise ConfigError(f"{where}: expected the schema as a dict")
            found[name] = Method(description, schema, function)
        if not found:
            name = f"{type(self).__module__}:{type(self).__name__}"
            raise ConfigError(f"plugin {name} has no method that is marked with @method")
        return found
