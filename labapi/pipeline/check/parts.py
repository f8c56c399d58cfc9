"""The parts that a Paste file assembles: filters and applications with their options, not built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from labapi.pipeline.check.factory import Factory
from labapi.pipeline.check.file import Value
from labapi.pipeline.check.finding import Place


@dataclass(slots=True)
class Part:
    """A filter or an application, with its options.

    :ivar kind: ``filter`` or ``app``
    :ivar name: as the file calls it
    :ivar named: the place that names it
    :ivar place: its section
    :ivar factory: None if it cannot be found
    :ivar local: options of its section
    :ivar given: global options as the section has them
    """

    kind: str
    name: str
    named: Place
    place: Place
    factory: Factory | None
    local: dict[str, Value] = field(default_factory=dict)
    given: dict[str, Value] = field(default_factory=dict)

    def texts(self) -> tuple[dict[str, str], dict[str, str]]:
        """Return the global and the local options as Paste hands them to the factory."""
        given = {name: value.text for name, value in self.given.items()}
        return given, {name: value.text for name, value in self.local.items()}

    def told(self, name: str, default: Any = None) -> Any:
        """Return what the factory says of itself in an attribute."""
        return getattr(self.factory.call, name, default) if self.factory else default

    @property
    def shown_at(self) -> Place:
        """Where to look for it: the place that names it, or its section if only the file does."""
        return self.named if self.named.section else self.place

    def place_of(self, option: str) -> Place:
        """Return where an option is written, or the section where it is not."""
        value = self.local.get(option) or self.given.get(option)
        if value is not None and value.place.section:
            return value.place
        return Place(self.place.file, self.place.section, option)


@dataclass(slots=True)
class Assembly:
    """Filters, outermost first, and the application behind them.

    :ivar place: the section that assembles them
    :ivar mounts: what a composite hands requests on to, by prefix
    """

    place: Place
    filters: list[Part]
    end: Part
    mounts: dict[str, Assembly] = field(default_factory=dict)

    def chains(self, left: tuple[Part, ...] = ()) -> Iterator[tuple[Part, ...]]:
        """Return the parts that a request passes, for each application at an end.

        :param left: what stands in front
        """
        filters = (*left, *self.filters)
        if not self.mounts:
            yield (*filters, self.end)
        for mount in self.mounts.values():
            yield from mount.chains(filters)
