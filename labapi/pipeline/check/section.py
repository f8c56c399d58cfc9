"""One section of a Paste file while it is read."""

from __future__ import annotations

from dataclasses import dataclass

from labapi.pipeline.check.file import PasteFile, Value
from labapi.pipeline.check.finding import Place


@dataclass(slots=True)
class Section:
    """A section that is being read: its name, the place that names it, its options."""

    file: PasteFile
    title: str
    name: str
    named: Place
    local: dict[str, Value]
    given: dict[str, Value]

    def place(self, option: str = "") -> Place:
        """Return the place of the section, or of an option in it."""
        return self.file.place(self.title, option)

    @property
    def additions(self) -> dict[str, Value]:
        """The global options that it sets itself."""
        place = self.place()
        return {
            name: value
            for name, value in self.given.items()
            if (value.how, value.place.file, value.place.section)
            == ("set", place.file, place.section)
        }
