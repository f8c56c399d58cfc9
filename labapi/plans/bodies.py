"""What an entry says, with everything put in: the body of its case, and what goes beyond it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from labapi.exceptions import InvalidInput
from labapi.nesting import deeper_than
from labapi.plans.fields import Fields
from labapi.plans.problems import Problems, shown
from labapi.plans.settings import SETTINGS
from labapi.plans.values import Values

MATRIX, PARAMETERS = "matrix", "parameters"
_REQUIRED = ("plugin", "method")


class Said(NamedTuple):
    """What an entry says.

    :ivar body: as ``POST /v2.1/testcases`` takes it, but for ``hosts``; without the fields in which
        something is wrong, and with None for parameters in which something is
    :ivar settings: field → value, of :data:`labapi.plans.settings.SETTINGS`
    :ivar uses: the names that must be registered before it begins, and where it asks for them
    """

    body: dict[str, Any]
    settings: dict[str, Any]
    uses: dict[str, str]


class Bodies:
    """Reads what entries say.

    :param fields: those of a body of ``POST /v2.1/testcases``
    :param depth: the deepest nesting of parameters
    """

    def __init__(self, values: Values, fields: Fields, depth: int, problems: Problems) -> None:
        self._values = values
        self._fields = fields
        self._depth = depth
        self._problems = problems
        self._known = sorted({*fields, *SETTINGS, MATRIX})

    def check_known(self, path: str, declared: Mapping[str, Any]) -> None:
        """Check that an entry has the fields that it must have, and none that are unknown."""
        for name in declared:
            if name not in self._known:
                hint = self._problems.there_is(self._known, name)
                self._problems.add(path, f"unknown field {shown(name)}; {hint}")
        for name in _REQUIRED:
            if name not in declared:
                self._problems.add(path, f"the field {name!r} is missing")

    def read(
        self,
        path: str,
        declared: Mapping[str, Any],
        own: Mapping[str, Any],
        within: Mapping[str, str],
    ) -> Said:
        """Return what an entry says; what is wrong is noted, and left out.

        :param own: the values that its matrix has for it
        :param within: what its test case says for it: ``group`` and ``lease``
        """
        said = Said({}, {}, {})
        for field, value in declared.items():
            if field != MATRIX and field in self._known:
                self._read(said, f"{path}/{field}", field, value, own)
        for field in ("host", "hosts"):
            if field in said.body and "same_host_as" in said.settings:
                self._problems.add(f"{path}/same_host_as", f"leave it out, or {field!r}")
        self._stay(path, said.body, within)
        return said

    def _read(self, said: Said, path: str, field: str, value: Any, own: Mapping[str, Any]) -> None:
        before = self._problems.count
        uses = said.uses if field == PARAMETERS else None
        value = self._values.put_in(value, path, own, uses)
        if self._problems.count == before:
            self._check(said, path, field, value)
        if self._problems.count > before and field == PARAMETERS:
            said.body[field] = None

    def _check(self, said: Said, path: str, field: str, value: Any) -> None:
        try:
            if field in SETTINGS:
                said.settings[field] = SETTINGS[field](value)
                return
            self._fields.check(field, value)
        except InvalidInput as error:
            self._problems.add(path, error)
            return
        if deeper_than(value, self._depth):
            self._problems.add(path, f"nested deeper than {self._depth} levels")
        else:
            said.body[field] = value

    def _stay(self, path: str, body: dict[str, Any], within: Mapping[str, str]) -> None:
        """Have an entry that names no host run within the group and the lease of its test case."""
        if "host" in body or isinstance(body.get("hosts"), list):
            return
        for field, value in within.items():
            if body.setdefault(field, value) != value:
                self._problems.add(f"{path}/{field}", f"its test case stays in {field} {value!r}")
