"""``{"get_param": "Data:STA1"}``: what it stands for, put into the values of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from labapi.exceptions import InvalidInput
from labapi.plans.problems import Problems, shown

GET = "get_param"
MAX_NAME = 256  # characters of what is asked for
SEPARATOR = ":"

_encode = msgspec.json.Encoder().encode

# Told what a {"get_param": …} has and where it stands, returns what it stands for.
Find = Callable[[Mapping[str, Any], str], Any]


class Nothing(InvalidInput):
    """A name that leads to nothing.

    :ivar key: the part of it that is not there
    :ivar found: what it leads to as far as it does
    """

    def __init__(self, name: str, key: str, found: Any) -> None:
        super().__init__(f"{GET}: there is no {name!r}")
        self.key = key
        self.found = found


def put_in(value: Any, path: str, find: Find) -> Any:
    """Return a value with everything put in that it asks for; it is not changed itself.

    :param value: nested no deeper than documents may be
    :param path: where it stands
    """
    if isinstance(value, dict):
        if GET in value:
            return find(value, path)
        return {key: put_in(child, f"{path}/{key}", find) for key, child in value.items()}
    if isinstance(value, list):
        return [put_in(child, f"{path}/{index}", find) for index, child in enumerate(value)]
    return value


def within(values: Mapping[str, Any], name: str) -> Any:
    """Return what a name leads to, key by key; a number leads into a list.

    :param name: ``Data:STA1``
    :raises Nothing: it leads nowhere
    """
    found: Any = values
    for key in name.split(SEPARATOR):
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and _is_index(key) and int(key) < len(found):
            found = found[int(key)]
        else:
            raise Nothing(name, key, found)
    return found


class Values:
    """Finds what the values of one plan ask for.

    :param environment: of the plan
    :param registering: the names that entries register, and where they do
    :param most: bytes as JSON of all that may be put in
    :ivar registered: those of the entries so far, and the turn in which each is
    """

    def __init__(
        self,
        environment: Mapping[str, Any],
        registering: Mapping[str, str],
        most: int,
        problems: Problems,
    ) -> None:
        self.environment = environment
        self.registered: dict[str, int] = {}
        self._registering = registering
        self._most = self._left = most
        self._problems = problems

    def put_in(
        self,
        value: Any,
        path: str,
        own: Mapping[str, Any] | None = None,
        uses: dict[str, str] | None = None,
    ) -> Any:
        """Return a value with everything put in; what is wrong with it is noted.

        :param own: values of its entry, before those of the environment
        :param uses: is given what is registered only while the plan runs, and where that is asked
            for; None: that cannot be asked for here
        :raises TooMuch: more is put in than a plan may have
        """
        own = own or {}

        def find(asking: Mapping[str, Any], place: str) -> Any:
            try:
                return self._counted(self._find(asking, place, own, uses))
            except Nothing as error:
                self._problems.add(place, f"{error}; {self._instead(error)}")
            except InvalidInput as error:
                self._problems.add(place, error)
            return None

        return put_in(value, path, find)

    def _counted(self, found: Any) -> Any:
        """Count what is put in before anybody looks at the whole: a few bytes ask for much."""
        self._left -= len(_encode(found))
        if self._left < 0:
            raise self._problems.too_much(f"more than {self._most} bytes are put in")
        return found

    def _find(
        self,
        asking: Mapping[str, Any],
        place: str,
        own: Mapping[str, Any],
        uses: dict[str, str] | None,
    ) -> Any:
        name = _name(asking)
        first = name.partition(SEPARATOR)[0]
        if first in own:
            return within(own, name)
        if first not in self._registering or first in self.environment:
            return within(self.environment, name)
        if uses is None:
            raise InvalidInput(
                f"{GET}: {first!r} is registered while the plan runs; only 'parameters' of what"
                " runs later may ask for it"
            )
        uses[first] = place
        return dict(asking)

    def check_set(self, uses: Mapping[str, str], turn: int) -> None:
        """Check that what an entry uses is registered when it begins, and note what is not.

        :param turn: of the entry
        """
        for name, place in uses.items():
            if self.registered.get(name, turn) >= turn:
                where = self._registering[name]
                self._problems.add(
                    place,
                    f"{GET}: {name!r} is not set yet: {where} does not end before this begins",
                )

    def _instead(self, error: Nothing) -> str:
        if isinstance(error.found, dict):
            return self._problems.there_is(error.found, error.key)
        if isinstance(error.found, list):
            return f"{shown(error.key)} is no index of a list of {len(error.found)}"
        return f"{shown(error.key)} would stand in a value that has nothing in it"


def _name(asking: Mapping[str, Any]) -> str:
    name = asking[GET]
    if len(asking) > 1:
        other = next(key for key in asking if key != GET)
        raise InvalidInput(f"{GET} stands alone, not beside {shown(other)}")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise InvalidInput(f"{GET}: expected a name such as 'Data:STA1', at most {MAX_NAME} long")
    return name


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 10
