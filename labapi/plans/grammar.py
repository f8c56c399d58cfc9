"""The grammar of test plans: from a document to entries in their order.

A plan has numbered test cases, each of them steps, each of these numbered entries. Test cases run
one after the other, and so do the steps of one; the entries of a ``Serial-Step-*`` likewise, those
of a ``Parallel-Step-*`` at the same time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from labapi.exceptions import InvalidInput
from labapi.plans import names, notify, same_host
from labapi.plans.entries import Entries, Every, Limits, Place
from labapi.plans.entry import Entry
from labapi.plans.fields import Fields
from labapi.plans.problems import Problems, TooMuch, shown
from labapi.plans.same_host import ROOT
from labapi.plans.settings import flag
from labapi.plans.values import GET, Values, put_in

TOP = ("name", "environment", "testplan", "stop_on_fail", "notify", "priority")
WITHIN = ("group", "lease")  # what a test case may say for its entries
DESCRIPTION = "DESCRIPTION"
_EXPECTED = "expected steps such as 'Serial-Step-1' and 'Parallel-Step-1'"
T = TypeVar("T")
_step = re.compile(r"(Serial|Parallel)-Step-[A-Za-z0-9._-]{1,64}").fullmatch


class Plan(msgspec.Struct, kw_only=True):
    """What a document says.

    :ivar priority: of all its cases that say nothing else
    :ivar outline: ``[{"name", "description", "steps": [{"name", "description"}]}]``
    :ivar within: what each test case says for its entries: ``group`` and ``lease``
    :ivar entries: in the order of their numbers; where something is wrong, without that
    """

    name: str = ""
    stop_on_fail: bool = False
    priority: int = 0
    notify: list[dict[str, str]] = []
    outline: list[dict[str, Any]] = []
    within: list[dict[str, str]] = []
    entries: list[Entry] = []


def read(
    document: Mapping[str, Any], fields: Fields, limits: Limits, every: Every, problems: Problems
) -> Plan:
    """Return what a document says.

    What is wrong is noted in ``problems``; the plan has what could be read, and may run only if
    nothing is.

    :param document: JSON, nested no deeper than documents may be
    :param fields: those of a body of ``POST /v2.1/testcases``
    :param every: finds the hosts of ``hosts: all``
    """
    return _Reader(document, fields, limits, every, problems).plan()


class _Reader:
    def __init__(
        self,
        document: Mapping[str, Any],
        fields: Fields,
        limits: Limits,
        every: Every,
        problems: Problems,
    ) -> None:
        self._document = document
        self._most = limits.entries
        self._fields = fields
        self._problems = problems
        environment = self._object(document.get("environment", {}), "environment")
        self._values = Values(environment, _registering(document.get(ROOT)), limits.size, problems)
        self._entries = Entries(self._values, fields, limits, every, problems)
        self._plan = Plan()

    def plan(self) -> Plan:
        """Read all of it."""
        self._check_environment()
        entries = self._entries
        try:
            self._top()
            self._test_cases()
        except TooMuch:
            return self._plan
        same_host.link(entries.references, entries.numbers, entries.turns, self._problems)
        self._plan.entries = entries.read
        return self._plan

    def _check_environment(self) -> None:
        def refuse(_: Mapping[str, Any], path: str) -> None:
            self._problems.add(path, f"{GET} works in {ROOT!r} and in 'notify' only")

        put_in(self._values.environment, "environment", refuse)

    def _top(self) -> None:
        document, plan = self._document, self._plan
        for key in document:
            if key not in TOP:
                hint = self._problems.there_is(TOP, key)
                self._problems.add("", f"unknown field {shown(key)}; {hint}")
        if "name" not in document:
            self._problems.add("", "the field 'name' is missing")
        plan.name = self._value("name", names.line, "")
        plan.stop_on_fail = self._value("stop_on_fail", flag, False)
        plan.priority = self._value("priority", self._priority, 0)
        mail = self._values.environment.get("mail")
        plan.notify = notify.targets(
            self._values.put_in(document.get("notify"), "notify"),
            mail.get("receiver") if isinstance(mail, dict) else None,
            self._problems,
        )

    def _priority(self, value: Any) -> int:
        return int(self._fields.checked("priority", value))

    def _value(self, field: str, read: Callable[[Any], T], default: T) -> T:
        try:
            return read(self._document[field]) if field in self._document else default
        except InvalidInput as error:
            self._problems.add(field, error)
            return default

    def _test_cases(self) -> None:
        if ROOT not in self._document:
            self._problems.add("", f"the field {ROOT!r} is missing")
            return
        for key, value in self._numbered(self._document[ROOT], ROOT, "a test case"):
            self._test_case(key, value, f"{ROOT}/{key}")

    def _test_case(self, key: str, value: Any, path: str) -> None:
        found = self._object(value, path)
        steps: list[dict[str, Any]] = []
        within = self._within(found, path)
        index = len(self._plan.outline)
        self._plan.outline.append(self._outlined(key, found, path) | {"steps": steps})
        self._plan.within.append(within)
        for name, step in found.items():
            if matched := _step(name):
                serial = matched[1] == "Serial"
                place = Place(f"{path}/{name}", index, len(steps), serial, within)
                step = self._object(step, place.path)
                steps.append(self._outlined(name, step, place.path))
                self._step(place, step)
            elif name not in (DESCRIPTION, *WITHIN):
                self._problems.add(path, f"unknown field {shown(name)}; {_EXPECTED}")
        if not steps and isinstance(value, dict):
            self._problems.add(path, f"it has no step; {_EXPECTED}")

    def _step(self, place: Place, step: Mapping[str, Any]) -> None:
        rest = {key: value for key, value in step.items() if key != DESCRIPTION}
        for key, declared in self._numbered(rest, place.path, "an entry"):
            self._entries.add(place, key, declared)
        if not place.serial:
            self._entries.end_turn()

    def _within(self, test_case: Mapping[str, Any], path: str) -> dict[str, str]:
        found = {}
        for field in WITHIN:
            if field in test_case:
                value = self._put_in(test_case, field, path, partial(self._fields.checked, field))
                if value is not None:
                    found[field] = value
        return found

    def _put_in(
        self, found: Mapping[str, Any], field: str, path: str, read: Callable[[Any], T]
    ) -> T | None:
        """Return a field of a test case or a step with everything put in, None if it is wrong."""
        before = self._problems.count
        value = self._values.put_in(found[field], f"{path}/{field}")
        if self._problems.count == before:
            try:
                return read(value)
            except InvalidInput as error:
                self._problems.add(f"{path}/{field}", error)
        return None

    def _outlined(self, name: str, found: Mapping[str, Any], path: str) -> dict[str, Any]:
        description = None
        if DESCRIPTION in found:
            description = self._put_in(found, DESCRIPTION, path, names.text)
        return {"name": name, "description": description}

    def _numbered(self, value: Any, path: str, what: str) -> Iterator[tuple[str, Any]]:
        """Return what is numbered, in the order of the numbers."""
        found = self._object(value, path)
        if len(found) > self._most:  # each is an entry, or has one
            raise self._problems.too_much(f"more than {self._most} entries")
        numbers = [key for key in found if names.is_number(key)]
        for key in found:
            if not names.is_number(key):
                self._problems.add(path, f"{shown(key)} is no number, by which {what} is called")
        if not found and isinstance(value, dict):
            self._problems.add(path, f"it is empty; expected {what} '1'")
        for key in sorted(numbers, key=int):
            yield key, found[key]

    def _object(self, value: Any, path: str) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self._problems.add(path, f"expected an object, not {shown(value)}")
        return {}


def _registering(test_cases: Any) -> dict[str, str]:
    """Return the names that entries register, and where they do."""
    return {
        entry["register"]: f"{case}/{step}/{number}"
        for case, steps in _items(test_cases)
        for step, entries in _items(steps)
        for number, entry in _items(entries)
        if isinstance(entry, dict) and isinstance(entry.get("register"), str)
    }


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()
