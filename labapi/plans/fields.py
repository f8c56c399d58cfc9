"""The fields of a case's body, checked one by one: an entry of a plan has nearly all of them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from labapi import json_schema

Schema = Mapping[str, Any]


class Fields:
    """Checks the fields of many bodies; what was right once is not looked at again.

    :param properties: field → its JSON schema; of objects and lists, only the type matters
    """

    def __init__(self, properties: Mapping[str, Schema]) -> None:
        self._validators = {
            name: json_schema.compiled(schema) for name, schema in properties.items()
        }
        self._right: set[Hashable] = set()

    def __contains__(self, name: object) -> bool:
        """Say whether a body may have this field."""
        return name in self._validators

    def __iter__(self) -> Iterator[str]:
        """Return the names of the fields."""
        return iter(self._validators)

    def checked(self, name: str, value: Any) -> Any:
        """Return the value of a field, after checking it as :meth:`check` does."""
        self.check(name, value)
        return value

    def check(self, name: str, value: Any) -> None:
        """Check a field.

        :raises InvalidInput: it does not fit
        """
        typed = (name, type(value))
        key = typed if isinstance(value, dict | list) else (*typed, value)
        if key not in self._right:
            json_schema.check(self._validators[name], value)
            self._right.add(key)
