"""Options of filters and applications: their mistakes, and their values in force."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labapi.pipeline.check import foreign
from labapi.pipeline.check.factory import FILTER, Factory
from labapi.pipeline.check.file import Value
from labapi.pipeline.check.finding import Finding, Place, masked, nearest, one_line
from labapi.pipeline.check.parts import Part

# No filter has that many options; it only bounds a factory that never has enough.
_MOST = 100
_NO_OPTION = "there is no such option"


@dataclass(frozen=True, slots=True)
class Shown:
    """An option that is in force, as it may be shown."""

    name: str
    value: str
    origin: str


def raised(place: Place, text: str, error: BaseException) -> Finding:
    """Return the finding about a factory that raises an unexpected exception.

    :param place: its section, and the option that names it
    :param text: what the file writes there
    """
    return Finding(place, f"{text} cannot be built ({one_line(error)})")


def check(part: Part, server: Mapping[str, str]) -> Iterator[Finding]:
    """Return what is wrong with the options of a part.

    :param server: what the server says of itself to who gives advice
    """
    if part.factory is None:
        return
    ask = part.told("check")
    if ask is None and part.kind == FILTER and part.told("options") is not None:
        ask = part.factory.call
    if ask is not None:
        wrong = list(_by_asking(part, part.factory, ask))
        yield from wrong or _advice(part, server)
        yield from _set_for_nobody(part)
        return
    wrong = [*_by_signature(part, part.factory), *foreign.check(part)]
    yield from wrong
    if not any(finding.fatal for finding in wrong):
        yield from _by_calling(part, part.factory)


def _by_asking(part: Part, factory: Factory, ask: Any) -> Iterator[Finding]:
    """Return everything that a factory refuses: asked again without an option, it names another."""
    given, local = part.texts()
    named: set[str] = set()
    for _ in range(_MOST):
        try:
            ask(given, **local)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it cannot be built so
            option = str(getattr(error, "option", ""))
            if option in named:
                return
            named.add(option)
            problem = getattr(error, "problem", None)
            if problem is None:
                yield raised(_named_in(part, factory), factory.text, error)
            else:
                yield Finding(part.place_of(option), " ".join(str(problem).split()))
            if local.pop(option, None) is None and given.pop(option, None) is None:
                return
        else:
            return


def _by_calling(part: Part, factory: Factory) -> Iterator[Finding]:
    """Return what the factory of another project raises, as far as it can be called here."""
    given, local = part.texts()
    own = foreign.own_configuration(factory.module, {**given, **local})
    try:
        if factory.protocol == "paste.filter_factory":
            wrap = factory.call(given, **local, **own)
            if not callable(wrap):
                what = type(wrap).__name__
                problem = f"{factory.text} gives no function that takes an application, but {what}"
                yield Finding(_named_in(part, factory), problem)
            elif foreign.can_be_tried(part, factory):
                with foreign.quietly():
                    wrap(_nothing)
        elif foreign.can_be_tried(part, factory):
            application = [_nothing] if part.kind == FILTER else []
            factory.call(*application, given, **local, **own)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - nor would it at the start
        yield raised(_named_in(part, factory), factory.text, error)


def _nothing(environ: Any, start_response: Any) -> list[bytes]:
    """Stand in for the application that a filter wraps."""
    return []


def _named_in(part: Part, factory: Factory) -> Place:
    place = part.place
    return place if place == part.named else Place(place.file, place.section, factory.option)


def _by_signature(part: Part, factory: Factory) -> Iterator[Finding]:
    """Return options that a factory cannot be called with."""
    try:
        parameters = list(inspect.signature(factory.call).parameters.values())
    except (TypeError, ValueError):
        return  # a callable that does not tell
    kinds = {parameter.kind for parameter in parameters}
    ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wrong = _arguments(
        factory, [p.name for p in ordered], inspect.Parameter.VAR_POSITIONAL in kinds
    )
    if wrong:
        yield Finding(_named_in(part, factory), wrong)
        return
    names = ordered[factory.positional :] + [p for p in parameters if p.kind == p.KEYWORD_ONLY]
    known = {parameter.name for parameter in names}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name, value in part.local.items():
            if name not in known:
                listed = ", ".join(sorted(known)) or "it has none"
                guess = nearest(name, known) or f"; known: {listed}"
                yield Finding(value.place, f"{_NO_OPTION}{guess}")
    for parameter in names:
        if parameter.default is parameter.empty and parameter.name not in part.local:
            yield Finding(part.place_of(parameter.name), "this option is required")


def _arguments(factory: Factory, names: list[str], takes_more: bool) -> str | None:
    """Return why Paste cannot call a factory, whatever its options are, or None."""
    first = names[0].lower() if names else ""
    if factory.protocol == "paste.filter_factory" and first in ("app", "application", "wsgi_app"):
        return (
            f"{factory.text} takes the application first; such a factory is named with"
            " 'paste.filter_app_factory = module:attribute'"
        )
    if len(names) < factory.positional and not takes_more:
        wanted = {1: "global_conf", 2: "app, global_conf"}[factory.positional]
        wanted = "loader, global_conf" if factory.is_composite else wanted
        return f"{factory.text} is not a factory: Paste calls it with ({wanted}, **options)"
    return None


def _advice(part: Part, server: Mapping[str, str]) -> Iterator[Finding]:
    """Return what a filter advises against."""
    ask = part.told("advice")
    if ask is None:
        return
    given, local = part.texts()
    for advice in ask({**server, **given}, **local):
        yield Finding(part.place_of(advice.option), advice.problem, fatal=False)


def _set_for_nobody(part: Part) -> Iterator[Finding]:
    """Warn of ``set`` with an option that the filter does not have."""
    options = part.told("options", ())
    for name, value in part.given.items():
        own = value.how == "set" and value.place.section == part.place.section
        if own and options and not any(option.covers(name) for option in options):
            guess = nearest(name, (option.name for option in options))
            yield Finding(value.place, f"{_NO_OPTION}{guess}", fatal=False)


def effective(part: Part) -> Iterator[Shown]:
    """Return the options that a part runs with; of other projects only those in the file."""
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


def _global(part: Part) -> dict[str, Value]:
    """Return the global options that a part honours."""
    options = part.told("options", ())
    return {
        name: value
        for name, value in part.given.items()
        if any(option.covers(name) for option in options)
    }
