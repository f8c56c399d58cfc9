"""Reads the sections of a Paste file, and returns the parts that they assemble.

This follows ``paste.deploy.loadwsgi`` section by section; where that raises, it takes down a
finding and goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from labapi.pipeline.check.factory import (
    APP,
    FILTER,
    PROTOCOLS,
    NotLoadable,
    find,
    is_factory,
    is_installed,
    meant,
)
from labapi.pipeline.check.file import (
    PasteFile,
    Unreadable,
    Value,
    has_scheme,
    is_config,
    relative_to,
)
from labapi.pipeline.check.finding import Finding, Place, nearest
from labapi.pipeline.check.missing import called, no_factory, no_section
from labapi.pipeline.check.parts import Assembly, Part
from labapi.pipeline.check.section import Section

# Sections that lead to others, one inside the other; Paste would go on until Python gives up.
_DEEPEST = 50
# Sections that are used, each as often as it is: each of a few may use the next one twice.
_MOST = 1000


class Reader:
    """Reads files into assemblies; what is wrong with them gathers in ``findings``.

    :param given: what the program adds to ``[DEFAULT]``
    :param texts: where to put the texts of the files, by their paths
    """

    def __init__(self, given: Mapping[str, str], texts: dict[str, str]) -> None:
        self.findings: list[Finding] = []
        self._given = given
        self._texts = texts
        self._files: dict[str, PasteFile] = {}
        self._entered: list[Place] = []
        self._used = 0

    def read(self, path: str, name: str = "main") -> Assembly | None:
        """Return what a file assembles, or None if that cannot be found out."""
        place = Place(path)
        file = self._file(path, place)
        given = {name: Value(text, Place("", "", name)) for name, text in self._given.items()}
        return self._app(file, name, given, place) if file else None

    def _file(self, path: str, named: Place) -> PasteFile | None:
        """Return a file, None if it cannot be used.

        :param named: the place that names it
        """
        if path not in self._files:
            try:
                self._files[path] = file = PasteFile(path, self._given)
            except Unreadable as error:
                self.findings += error.findings
                return None
            except (OSError, ValueError) as error:  # ValueError: no path of any file
                problem = str(getattr(error, "strerror", None) or error)
                self._found(named, problem if named.file == path else f"{path}: {problem}")
                return None
            self.findings += file.findings
            self._texts[path] = file.text
        return self._files[path]

    def _found(self, place: Place, problem: str) -> None:
        self.findings.append(Finding(place, problem))

    # Applications

    def _app(
        self, file: PasteFile, name: str, inherited: Mapping[str, Value], named: Place
    ) -> Assembly | None:
        if is_config(name):
            other, main = self._other_file(file, name, named)
            return self._app(other, main, inherited, named) if other else None
        if has_scheme(name):
            local = {"use": Value(name, named)}
            return Assembly(named, [], self._part(APP, name, named, named, local, inherited))
        with self._section(file, APP, name, inherited, named) as section:
            if section is None:
                return None
            outer = self._filter_with(section)
            prefix = section.title.partition(":")[0]
            if prefix == "pipeline":
                found = self._pipeline(section)
            elif prefix == "filter-app":
                found = self._filter_app(section)
            else:
                found = self._one_app(section)
            if found is not None:
                found.filters[:0] = outer
            return found

    def _one_app(self, section: Section) -> Assembly | None:
        file, local, given = section.file, section.local, section.given
        if "use" in local and not is_factory(local["use"].text):
            use = local.pop("use")
            found = self._app(file, use.text, given, use.place)
            if found is not None:
                found.end.local.update(local)
                found.end.given.update(section.additions)
            return found
        part = self._part(APP, section.name, section.named, section.place(), local, given)
        mounts = {}
        if part.factory is not None and part.factory.is_composite:
            for prefix, value in part.local.items():
                if prefix.startswith("/"):
                    mount = self._app(file, value.text, given, value.place)
                    if mount is not None:
                        mounts[prefix] = mount
        return Assembly(section.place(), [], part, mounts)

    def _pipeline(self, section: Section) -> Assembly | None:
        place = section.place("pipeline")
        value = section.local.pop("pipeline", None)
        for option in section.local.values():
            self._found(option.place, "a pipeline has no other option than 'pipeline'")
        names = self._names(value.text, place) if value else []
        if not names and not nearest("pipeline", section.local):
            self._found(place, "expected the names of filters and, last, of an application")
        if not names:
            return None
        filters = [
            part
            for name in names[:-1]
            for part in self._filter(section.file, name, section.given, place)
        ]
        last = self._app(section.file, names[-1], section.given, place)
        if last is None:
            last = Assembly(place, [], Part(APP, names[-1], place, place, None))
        return Assembly(section.place(), [*filters, *last.filters], last.end, last.mounts)

    def _names(self, text: str, place: Place) -> list[str]:
        names: list[str] = []
        for line in text.splitlines():
            words = line.split()
            comment = next((i for i, word in enumerate(words) if word[0] in "#;"), len(words))
            if comment < len(words):
                self._found(place, f"the comment '{' '.join(words[comment:])}' needs its own line")
            names += words[:comment]
        return names

    def _filter_app(self, section: Section) -> Assembly | None:
        follows = section.local.pop("next", None)
        if follows is None:
            self._found(section.place("next"), "expected the application behind this filter")
            return None
        filters = self._one_filter(section)
        found = self._app(section.file, follows.text, section.given, follows.place)
        if found is not None:
            found.filters[:0] = filters
        return found

    # Filters

    def _filter(
        self, file: PasteFile, name: str, inherited: Mapping[str, Value], named: Place
    ) -> list[Part]:
        """Return a filter behind the one of ``filter-with``; a missing one is a part, too."""
        if is_config(name):
            other, section = self._other_file(file, name, named)
            missing = [Part(FILTER, name, named, named, None)]
            return self._filter(other, section, inherited, named) if other else missing
        if has_scheme(name):
            local = {"use": Value(name, named)}
            return [self._part(FILTER, name, named, named, local, inherited)]
        with self._section(file, FILTER, name, inherited, named) as found:
            if found is None:
                return [Part(FILTER, name, named, named, None)]
            outer = self._filter_with(found)
            return [*outer, *self._one_filter(found)]

    def _one_filter(self, section: Section) -> list[Part]:
        local, given = section.local, section.given
        if "use" not in local or is_factory(local["use"].text):
            place = section.place()
            return [self._part(FILTER, section.name, section.named, place, local, given)]
        use = local.pop("use")
        parts = self._filter(section.file, use.text, given, use.place)
        if parts:
            last = parts[-1]
            last.name, last.named, last.place = section.name, section.named, section.place()
            last.local.update(local)
            last.given.update(section.additions)
        return parts

    def _filter_with(self, section: Section) -> list[Part]:
        required = section.local.pop("require", None)
        if required is not None:
            for name in required.text.split():
                if not is_installed(name):
                    self._found(required.place, f"the distribution '{name}' is not installed")
        outer = section.local.pop("filter-with", None)
        return self._filter(section.file, outer.text, section.given, outer.place) if outer else []

    # Both

    def _part(
        self,
        kind: str,
        name: str,
        named: Place,
        place: Place,
        local: dict[str, Value],
        given: Mapping[str, Value],
    ) -> Part:
        """Find the factory that a section names, and leave the section's other options."""
        part = Part(kind, name, named, place, None, local, dict(given))
        for option in ("use", *PROTOCOLS[kind]):
            if option not in local:
                continue
            value = local.pop(option)
            try:
                part.factory = find(kind, option, value.text, place.section)
            except NotLoadable as error:
                self._found(value.place, str(error))
            return part
        self._found(Place(place.file, place.section, "use"), no_factory(kind, name, local))
        return part

    def _other_file(self, file: PasteFile, uri: str, named: Place) -> tuple[PasteFile | None, str]:
        written, _, name = uri.partition(":")[2].partition("#")
        try:
            path = relative_to(file.path, unquote(written))
        except ValueError as error:  # no path of any file
            self._found(named, f"{written}: {error}")
            return None, ""
        return self._file(path, named), name or "main"

    @contextlib.contextmanager
    def _section(
        self, file: PasteFile, kind: str, name: str, inherited: Mapping[str, Value], named: Place
    ) -> Iterator[Section | None]:
        """Open the section of a name; None if there is none, or if it leads to itself."""
        title = self._title(file, kind, name, named) if self._used <= _MOST else None
        place = file.place(title or "")
        self._used += 1
        if self._used == _MOST + 1:
            self._found(named, f"with '{name}', more than {_MOST} sections are used; use fewer")
            yield None
        elif title is None:
            yield None
        elif place in self._entered:
            guess = meant(kind, name) if named.option == "use" else ""
            self._found(named, f"'{name}' leads back to [{title}] itself{guess}")
            yield None
        elif len(self._entered) == _DEEPEST:
            self._found(named, f"more than {_DEEPEST} sections lead to '{name}', one to the next")
            yield None
        else:
            self._entered.append(place)
            options = file.options(title, inherited, self.findings)
            yield Section(file, title, name, named, *options)
            self._entered.pop()

    def _title(self, file: PasteFile, kind: str, name: str, named: Place) -> str | None:
        found = [section for section, other in called(file, kind) if other == name]
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(f"[{section}]" for section in found)
            self._found(named, f"'{name}' may be any of {several}")
        else:
            self._found(named, no_section(file, kind, name, named))
        return None
