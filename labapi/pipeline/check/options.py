"""Options of filters and applications: what is wrong with them, and what they come to."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labapi.pipeline.check import foreign
from labapi.pipeline.check.factory import FILTER, Factory
from labapi.pipeline.check.file import Finding, masked, nearest
from labapi.pipeline.check.parts import Part

# No filter has that many options; it only bounds a factory that never has enough.
_MOST = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """An option that is in force, as it may be shown."""

    name: str
    value: str
    origin: str


def check(part: Part) -> Iterator[Finding]:
    """Return what is wrong with the options of a part."""
    if part.factory is None:
        return
    if part.told("check") is not None:
        yield from _by_asking(part, part.told("check"))
    elif part.kind == FILTER and part.told("options") is not None:
        yield from _by_asking(part, part.factory.call)
    else:
        yield from _by_signature(part, part.factory)
        yield from foreign.check(part)


def _by_asking(part: Part, ask: Any) -> Iterator[Finding]:
    """Return all that a factory refuses: without the option that it names it may say the next."""
    given, local = part.texts()
    named: set[str] = set()
    for _ in range(_MOST):
        try:
            ask(given, **local)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it cannot be built so
            option = str(getattr(error, "option", ""))
            problem = getattr(error, "problem", None) or f"{type(error).__name__}: {error}"
            if option in named:
                return
            named.add(option)
            yield Finding(part.place_of(option), " ".join(str(problem).split()))
            if local.pop(option, None) is None and given.pop(option, None) is None:
                return
        else:
            return


def _by_signature(part: Part, factory: Factory) -> Iterator[Finding]:
    """Return options that a factory cannot be called with."""
    try:
        parameters = list(inspect.signature(factory.call).parameters.values())
    except (TypeError, ValueError):
        return  # a callable that does not tell
    kinds = {parameter.kind for parameter in parameters}
    names = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = names[factory.positional :]
    known = {parameter.name for parameter in names}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name, value in part.local.items():
            if name not in known:
                listed = ", ".join(sorted(known)) or "it has none"
                guess = nearest(name, known) or f"; known: {listed}"
                yield Finding(value.place, f"there is no such option{guess}")
    for parameter in names:
        if parameter.default is parameter.empty and parameter.name not in part.local:
            yield Finding(part.place_of(parameter.name), "this option is required")


def effective(part: Part) -> Iterator[Shown]:
    """Return the options that a part runs with: of ours all, of others what is written."""
    if part.factory is not None:
        origin = f"[{part.place.section}]"
        yield Shown(part.factory.option, part.factory.text, origin)
    options = part.told("options", ())
    secret = [option for option in options if option.secret]
    written = {**_global(part), **part.local}
    for name, value in written.items():
        hidden = any(option.covers(name) for option in secret)
        text = "***" if hidden and value.text else masked(name, value.text)
        yield Shown(name, text, value.origin)
    for option in options:
        if option.name not in written and not option.is_family:
            yield Shown(option.name, option.default, "default")


def _global(part: Part) -> dict[str, Any]:
    """Return the global options that a part honours."""
    options = part.told("options", ())
    return {
        name: value
        for name, value in part.given.items()
        if any(option.covers(name) for option in options)
    }
