"""Finding what a section of a Paste file names: a factory in an installed distribution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from labapi.pipeline.check.file import has_scheme, is_config, nearest

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


class NotLoadable(Exception):
    """A factory that is not there; the text says what is missing and what may be meant."""


def is_factory(use: str) -> bool:
    """Say whether ``use = …`` names a factory, and not another section or file."""
    return has_scheme(use) and not is_config(use)


def find(kind: str, option: str, text: str, section: str) -> Factory:
    """Find the factory that an option of a section names.

    :param kind: :data:`FILTER` or :data:`APP`
    :param option: ``use`` or a protocol
    :raises NotLoadable: it is not installed, or cannot be imported
    """
    if option != "use":
        return _from_object(kind, text, option, option, text)
    scheme, _, spec = text.partition(":")
    if scheme.lower() == "egg":
        return _from_egg(kind, spec, text)
    if scheme.lower() == "call":
        composite = section.startswith("composit")
        protocol = "paste.composite_factory" if composite else f"paste.{kind}_factory"
        return _from_object(kind, spec, protocol, option, text)
    raise NotLoadable(f"'{scheme}:' is not known; expected egg:, config: or call:")


def _from_egg(kind: str, spec: str, text: str) -> Factory:
    """Find an entry point, ``DISTRIBUTION#NAME``; the name is ``main`` if it is left out."""
    distribution, _, name = spec.partition("#")
    name = name or "main"
    try:
        found = metadata.distribution(distribution)
    except (metadata.PackageNotFoundError, ValueError):
        guess = nearest(distribution, _distributions())
        raise NotLoadable(f"the distribution '{distribution}' is not installed{guess}") from None
    points = [point for point in found.entry_points if point.group in PROTOCOLS[kind]]
    for point in points:
        if point.name == name:
            return Factory(_load(point), point.group, "use", text)
    other = [point for point in found.entry_points if point.name == name]
    if any(point.group.startswith("paste.") for point in other):
        raise NotLoadable(f"'{name}' of '{distribution}' is not {_article(kind)}")
    guess = nearest(name, (point.name for point in points))
    raise NotLoadable(f"'{distribution}' has no {_noun(kind)} '{name}'{guess}")


def _from_object(kind: str, spec: str, protocol: str, option: str, text: str) -> Factory:
    """Import ``MODULE:ATTRIBUTE``."""
    if not spec.partition(":")[2]:
        raise NotLoadable(f"expected module:attribute, such as lab.filters:{kind}_factory")
    point = metadata.EntryPoint(name="", value=spec, group="")
    return Factory(_load(point), protocol, option, text)


def _load(point: metadata.EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:  # a module may raise anything while it is imported
        problem = f"{point.value} cannot be loaded ({type(error).__name__}: {error})"
        raise NotLoadable(" ".join(problem.split())) from error


def _distributions() -> Iterable[str]:
    groups = {protocol for protocols in PROTOCOLS.values() for protocol in protocols}
    points = [point for group in groups for point in metadata.entry_points(group=group)]
    return {point.dist.name for point in points if point.dist}


def _noun(kind: str) -> str:
    return "application" if kind == APP else kind


def _article(kind: str) -> str:
    return "an application" if kind == APP else f"a {kind}"
