"""Finding the factory that a section of a Paste file names, in an installed distribution."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from paste.deploy.util import lookup_object

from labapi import installed
from labapi.pipeline.check.file import has_scheme, is_config
from labapi.pipeline.check.finding import nearest, nearest_name, one_line

FILTER = "filter"
APP = "app"

# In the order in which Paste looks; a composite is an application.
PROTOCOLS = {
    FILTER: ("paste.filter_factory", "paste.filter_app_factory"),
    APP: ("paste.app_factory", "paste.composite_factory", "paste.composit_factory"),
}
_COMPOSITE = ("paste.composite_factory", "paste.composit_factory")


@dataclass(frozen=True, slots=True)
class Factory:
    """What builds a filter or an application.

    :ivar call: the callable
    :ivar protocol: how Paste calls it
    :ivar option: with which the file names it: ``use``, or a protocol
    :ivar text: what the file writes there
    """

    call: Any
    protocol: str
    option: str
    text: str

    @property
    def is_composite(self) -> bool:
        """Say whether it builds an application of other applications."""
        return self.protocol in _COMPOSITE

    @property
    def positional(self) -> int:
        """How many arguments it gets before the section's options."""
        return 2 if self.is_composite or self.protocol == "paste.filter_app_factory" else 1

    @property
    def module(self) -> str:
        """The module that it is from."""
        return module_of(self.call)

    @property
    def name(self) -> str:
        """What its distribution calls it, in whichever way the file names it."""
        own = getattr(self.call, "name", None)
        found = self.text.partition("#")[2] or self.module.rpartition(".")[2]
        return own if isinstance(own, str) else found


def module_of(call: Any) -> str:
    """Return the module that a callable is from; of a method, the one of its class."""
    return str(getattr(getattr(call, "__self__", call), "__module__", ""))


class NotLoadable(Exception):
    """A factory that cannot be found; the text says why, and suggests one that is near."""


def is_factory(use: str) -> bool:
    """Say whether ``use = …`` names a factory, and not another section or file."""
    return has_scheme(use) and not is_config(use)


def find(kind: str, option: str, text: str, section: str) -> Factory:
    """Find the factory that an option of a section names.

    :param kind: :data:`FILTER` or :data:`APP`
    :param option: ``use`` or a protocol
    :param section: without its brackets; empty where a pipeline names the factory itself
    :raises NotLoadable: it is not installed, cannot be imported, or is no factory
    """
    factory = _found(kind, option, text, section)
    if not callable(factory.call):
        what = type(factory.call).__name__
        raise NotLoadable(f"'{text}' is not a factory, but of the type {what}")
    return factory


def _found(kind: str, option: str, text: str, section: str) -> Factory:
    if option != "use":
        point = metadata.EntryPoint(name="", value=text, group="")
        _require_attribute(kind, text, text)
        return Factory(_load(text, text, point.load), option, option, text)
    scheme, _, spec = text.partition(":")
    if scheme.lower() == "egg":
        return _from_egg(kind, spec, text)
    if scheme.lower() != "call":
        raise NotLoadable(f"'{text}': '{scheme}:' is not known; expected egg:, config: or call:")
    word = section.partition(":")[0]
    if word not in ("app", "application", "composite", "composit", "filter"):
        raise NotLoadable(
            f"'{text}': call: works in a section [{kind}:…] only; write one, or the entry point of"
            f" a distribution, such as {_EXAMPLE[kind]}"
        )
    protocol = f"paste.{'composite' if word.startswith('composit') else kind}_factory"
    _require_attribute(kind, spec, text)
    return Factory(_load(text, spec, lambda: lookup_object(spec)), protocol, option, text)


_EXAMPLE = {FILTER: "egg:labapi-middleware#proxy", APP: "egg:labapi#api"}


def _from_egg(kind: str, spec: str, text: str) -> Factory:
    """Find an entry point, ``DISTRIBUTION#NAME``; the name is ``main`` if it is left out."""
    distribution, hash_, name = spec.partition("#")
    name = name if hash_ else "main"
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        guess = nearest(distribution, _distributions())
        raise NotLoadable(f"the distribution '{distribution}' is not installed{guess}") from None
    points = [point for point in found.entry_points if point.group in PROTOCOLS[kind]]
    point = next((point for point in points if point.name == name), None)
    if point is not None:
        return Factory(_load(text, point.value, point.load), point.group, "use", text)
    other = (point for point in found.entry_points if point.name == name)
    if any(point.group.startswith("paste.") for point in other):
        raise NotLoadable(f"'{name}' of '{distribution}' is not {_article(kind)}")
    known = sorted(point.name for point in points)
    guess = meant(kind, text if hash_ else distribution)
    if not guess and known:
        guess = f"; it has {', '.join(known)}"
    if not hash_:
        problem = f"'{text}': expected the name of {_article(kind)}, egg:{distribution}#NAME"
        raise NotLoadable(f"{problem}{guess}")
    raise NotLoadable(f"'{distribution}' has no {_noun(kind)} '{name}'{guess}")


def meant(kind: str, text: str) -> str:
    """Return ``; did you mean egg:…?`` if an installed entry point has a name like this.

    :param text: with or without ``egg:``, a distribution, or only a name
    """
    known = {f"egg:{dist}#{name}": name for dist, name in _installed(kind)}
    name = text.partition("#")[2] or text
    of_that_name = [uri for uri, other in known.items() if other == name]
    guess = nearest_name(text if text.startswith("egg:") else f"egg:{text}", known)
    if "#" in text and guess is not None and known[guess] == name:
        found: str | None = guess
    elif of_that_name:
        found = of_that_name[0]
    else:
        near = nearest_name(name, known.values())
        found = next((uri for uri, other in known.items() if other == near), None)
    return f"; did you mean '{found}'?" if found else ""


def _require_attribute(kind: str, spec: str, text: str) -> None:
    module, _, attribute = spec.partition(":")
    if not module or not attribute:
        problem = f"expected module:attribute, such as lab.filters:{kind}_factory"
        raise NotLoadable(f"'{text}': {problem}")


def _load(text: str, spec: str, load: Any) -> Any:
    try:
        return load()
    except AttributeError as error:
        guess = _near_attribute(spec) or f" ({one_line(error)})"
        raise NotLoadable(f"'{text}' cannot be loaded{guess}") from error
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise NotLoadable(f"'{text}' cannot be loaded ({one_line(error)})") from error


def _near_attribute(spec: str) -> str:
    """Return a suggestion for an attribute that a module does not have."""
    module, _, attribute = spec.partition(":")
    try:
        names = dir(metadata.EntryPoint(name="", value=module, group="").load())
    except (Exception, SystemExit):  # noqa: BLE001 - a guess is worth no mistake
        return ""
    if attribute in names:
        return ""
    return f": '{module}' has no '{attribute}'{nearest(attribute, names)}"


def _installed(kind: str) -> Iterator[tuple[str, str]]:
    """Return the entry points that Paste can use, ours first: distribution and name."""
    points = [point for group in PROTOCOLS[kind] for point in installed.entry_points(group)]
    found = {(point.dist.name, point.name) for point in points if point.dist}
    return iter(sorted(found, key=lambda pair: (not pair[0].startswith("labapi"), pair)))


def _distributions() -> Iterable[str]:
    return {distribution for kind in PROTOCOLS for distribution, _ in _installed(kind)}


def is_installed(distribution: str) -> bool:
    """Say whether there is a distribution of this name."""
    try:
        metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return True


def _noun(kind: str) -> str:
    return "application" if kind == APP else kind


def _article(kind: str) -> str:
    return "an application" if kind == APP else f"a {kind}"
