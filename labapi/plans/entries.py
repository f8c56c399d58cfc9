"""The entries of a plan: spread over matrices and hosts, numbered, and put into turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from labapi import json_schema
from labapi.case import WANTS
from labapi.exceptions import InvalidInput, LabapiError
from labapi.plans import matrix, names
from labapi.plans.bodies import MATRIX, Bodies, Said
from labapi.plans.entry import Entry, Rules
from labapi.plans.fields import Fields
from labapi.plans.problems import Problems, shown
from labapi.plans.values import Values

ALL = "all"  # as the value of "hosts"

_encode = msgspec.json.Encoder().encode

# Returns the names of the hosts that "hosts": "all" of a body stands for, or raises a LabapiError;
# the body's parameters are None as long as they are not known.
Every = Callable[[Mapping[str, Any]], Sequence[str]]


class Limits(NamedTuple):
    """How large a plan may be.

    :ivar entries: once matrices and lists of hosts are spread
    :ivar size: bytes of all entries as JSON, once everything is put in
    :ivar depth: the deepest nesting of parameters
    """

    entries: int
    size: int
    depth: int


class Place(NamedTuple):
    """Where entries stand.

    :ivar path: of their step
    :ivar test_case: index in the outline
    :ivar step: likewise
    :ivar serial: they run one after the other
    :ivar within: what their test case says for them: ``group`` and ``lease``
    """

    path: str
    test_case: int
    step: int
    serial: bool
    within: Mapping[str, str]


class Entries:
    """Reads the entries of one plan, in their order.

    :ivar read: the entries, without what is wrong in them
    :ivar numbers: of all, by path, and by the path where they are declared
    :ivar turns: of all, by number
    :ivar references: what entries name in ``same_host_as``
    """

    def __init__(
        self, values: Values, fields: Fields, limits: Limits, every: Every, problems: Problems
    ) -> None:
        self.read: list[Entry] = []
        self.numbers: dict[str, list[int]] = {}
        self.turns: dict[int, int] = {}
        self.references: list[tuple[Entry, Sequence[str]]] = []
        self._values = values
        self._bodies = Bodies(values, fields, limits.depth, problems)
        self._limits = limits
        self._every = every
        self._problems = problems
        self._size = self._count = self._number = self._turn = 0

    def end_turn(self) -> None:
        """Have what follows run after what was read so far."""
        self._turn += 1

    def add(self, place: Place, key: str, declared: Any) -> None:
        """Read what is declared as one entry, which may become several.

        :raises TooMuch: the plan is larger than allowed
        """
        path = f"{place.path}/{key}"
        if not isinstance(declared, dict):
            self._problems.add(path, f"expected an object, not {shown(declared)}")
            return
        self._bodies.check_known(path, declared)
        for own in self._combinations(path, declared):
            self._add(place, key, declared, own)
            if place.serial:
                self.end_turn()

    def _combinations(self, path: str, declared: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        if MATRIX not in declared:
            return ({},)
        path = f"{path}/{MATRIX}"
        before = self._problems.count
        given = self._values.put_in(declared[MATRIX], path)
        try:
            found = matrix.combinations(given, self._limits.entries)
        except InvalidInput as error:
            if self._problems.count == before:
                self._problems.add(path, error)
            return ()
        for name in given.keys() & self._values.environment.keys():
            self._problems.add(f"{path}/{name}", f"{name!r} is in the environment already")
        return found

    def _add(
        self, place: Place, key: str, declared: Mapping[str, Any], own: Mapping[str, Any]
    ) -> None:
        """Read an entry with the values that its matrix has for it."""
        before = self._problems.count
        label = matrix.label(own)
        path = f"{place.path}/{key}[{label}]" if own else f"{place.path}/{key}"
        said = self._bodies.read(path, declared, own, place.within)
        self._take(said.body)
        self._values.check_set(said.uses, self._turn)
        if "register" in said.settings:
            self._register(path, said.settings["register"], declared)
        for host in self._hosts(path, said, sound=self._problems.count == before):
            labels = ",".join(part for part in (label, host) if part)
            name = f"{key}[{labels}]" if labels else key
            if len(name) > names.MAX_LINE:
                self._problems.add(path, f"its name would have {len(name)} characters")
            entry = self._entry(place, name, said, host)
            if entry.path in self.numbers:
                self._problems.add(path, "another combination of its matrix has the same name")
            for known in {f"{place.path}/{key}", entry.path}:
                self.numbers.setdefault(known, []).append(entry.number)
            self.read.append(entry)
            if "same_host_as" in said.settings:
                self.references.append((entry, said.settings["same_host_as"]))

    def _register(self, path: str, name: str, declared: Mapping[str, Any]) -> None:
        problem = None
        if MATRIX in declared or "hosts" in declared:
            problem = "what runs more than once cannot register one value"
        elif name in self._values.environment:
            problem = f"{name!r} is in the environment already"
        elif name in self._values.registered:
            problem = f"{name!r} is registered by another entry already"
        if problem is not None:
            self._problems.add(f"{path}/register", problem)
        self._values.registered.setdefault(name, self._turn)

    def _hosts(self, path: str, said: Said, *, sound: bool) -> Sequence[str | None]:
        """Return the hosts on each of which an entry runs; None stands for what its body says.

        :param sound: nothing is wrong with the entry so far
        """
        body = said.body
        if "hosts" not in body:
            return [None]
        if not sound:
            del body["hosts"]
            return [None]
        try:
            # What is registered while the plan runs is not known yet, nor what will do for it.
            found: Sequence[str | None] = self._named(
                {**body, "parameters": None} if said.uses else body
            )
        except LabapiError as error:
            self._problems.blame(path, error, "hosts")
            found = [None]
        if body.pop("hosts") == ALL:  # what was asked of hosts is answered
            for field in WANTS:
                body.pop(field, None)
        for _ in found[1:]:
            self._take(body)
        return found

    def _named(self, body: Mapping[str, Any]) -> Sequence[str]:
        given = body["hosts"]
        if "host" in body:
            raise InvalidInput("leave it out, or 'host'")
        if given == ALL:
            return self._every(body)
        if isinstance(given, str):
            raise InvalidInput("expected 'all' or a list of names of hosts")
        for name in given:
            names.line(name)
        if not given:
            raise InvalidInput("name at least one host, or say 'all'")
        return json_schema.texts("hosts", given, self._limits.entries)

    def _take(self, body: Mapping[str, Any]) -> None:
        """Count what becomes an entry.

        :raises TooMuch: the plan is larger than allowed
        """
        self._count += 1
        self._size += len(_encode(body))
        if self._count > self._limits.entries:
            raise self._problems.too_much(f"more than {self._limits.entries} entries")
        if self._size > self._limits.size:
            raise self._problems.too_much(
                f"its entries have more than {self._limits.size} bytes, with all that is put in"
            )

    def _entry(self, place: Place, name: str, said: Said, host: str | None) -> Entry:
        self._number += 1
        self.turns[self._number] = self._turn
        return Entry(
            path=f"{place.path}/{name}",
            number=self._number,
            turn=self._turn,
            test_case=place.test_case,
            step=place.step,
            name=name,
            description=said.settings.get("DESCRIPTION"),
            always=said.settings.get("always", False),
            body=said.body if host is None else {**said.body, "host": host},
            rules=Rules(
                retry=said.settings.get("retry"),
                continue_on=said.settings.get("continue_on", ()),
                register=said.settings.get("register"),
                uses=tuple(said.uses),
            ),
        )
