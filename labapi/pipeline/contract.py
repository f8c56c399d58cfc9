"""How labapi's own applications describe themselves, for the check of a Paste file.

A factory has attributes: which options it takes, and what it needs to its left. Those of filters
are described in the README of labapi-middleware; applications have the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

# What filters give and need, in the words of labapi-middleware.
IDENTITY = "identity"
CONTEXT = "context"
CLIENT = "client"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a filter to the left has to give.

    :param what: :data:`IDENTITY`, :data:`CONTEXT` or :data:`CLIENT`
    :param option: the option that makes it needed
    :param required: false where it has to be to the left only if it is there at all
    """

    what: str
    option: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that works, and is probably a mistake.

    :param option: the option that it is about; empty for the part itself
    :param problem: one line
    """

    option: str
    problem: str


class OptionError(ValueError):
    """An option of an application that is unknown or has a value that cannot be used.

    :ivar option: the option's name
    :ivar problem: what is wrong and what was expected
    """

    def __init__(self, name: str, option: str, problem: str) -> None:
        super().__init__(f"app {name}: option '{option}': {problem}")
        self.option = option
        self.problem = problem


def described(
    check: Callable[..., None],
    *needs: Need,
    advice: Callable[..., Iterable[Advice]] = lambda *_, **__: (),
) -> Callable[[F], F]:
    """Return a decorator of a factory.

    :param check: takes the global and the section's options; raises :class:`OptionError`
    :param advice: takes the same; returns what works and is probably a mistake
    """

    def describe(factory: F) -> F:
        told = {"check": check, "options": (), "needs": lambda *_, **__: needs, "advice": advice}
        vars(factory).update(told)
        return factory

    return describe


def no_options(name: str) -> Callable[..., None]:
    """Return a check that refuses every option."""

    def check(global_conf: Mapping[str, str], **local_conf: str) -> None:
        for option in local_conf:
            raise OptionError(name, option, "there is no such option; this application has none")

    return check
