"""What entries of a test plan return, for those that come later."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from labapi.case import Result
from labapi.db import plans, testcases
from labapi.db.models import CANNOT_BE_SHOWN, MAX_DEPTH
from labapi.db.session import Record
from labapi.exceptions import InvalidInput
from labapi.nesting import deeper_than
from labapi.plans import values
from labapi.plans.entry import Rules

# Bytes of a registered line, and as JSON those of a registered value, of all that a plan has
# registered, which is one value of a row, of what one entry may ask for, and of what is put into
# entries that begin together: writing that down takes a second.
MAX_LINE = 4096
MAX_SIZE = 64 * 1024
MAX_ALL = 1024 * 1024
MAX_PUT_IN = 4 * MAX_SIZE
MAX_TOGETHER = 64 * MAX_PUT_IN
TOO_LARGE = {CANNOT_BE_SHOWN: f"it is larger than {MAX_SIZE} bytes"}
TOO_MUCH = {CANNOT_BE_SHOWN: f"the plan has registered more than {MAX_ALL} bytes"}
# How long the first piece of an output may come after the end of its case.
LATE = datetime.timedelta(seconds=10)


class Registered:
    """What was registered in a plan that is locked; read when it is wanted.

    :param plan: ``testplans.id``
    """

    def __init__(self, connection: Connection, plan: int, now: datetime.datetime) -> None:
        self._connection = connection
        self._plan = plan
        self._now = now
        self._changed = False
        self._put_in = 0

    @property
    def full(self) -> bool:
        """Say whether so much was put in that other entries begin later, after other plans."""
        return self._put_in >= MAX_TOGETHER

    @functools.cached_property
    def values(self) -> dict[str, Any]:
        """What was registered, by name."""
        return plans.registered(self._connection, self._plan)

    @functools.cached_property
    def _all(self) -> int:
        """Bytes of all values."""
        return _size(self.values)

    def put_in(self, parameters: Any) -> Any:
        """Return parameters in which what was registered stands for what asks for it.

        :raises InvalidInput: what was registered has not what is asked of it, or is too large or
            nested too deep
        """
        size = 0

        def find(asking: Mapping[str, Any], _: str) -> Any:
            nonlocal size
            name = asking[values.GET]
            whole = self.values[name.partition(values.SEPARATOR)[0]]
            if whole in (TOO_LARGE, TOO_MUCH):
                raise InvalidInput(f"{values.GET}: {name!r}: {whole[CANNOT_BE_SHOWN]}")
            found = values.within(self.values, name)
            size += _size(found)
            if size > MAX_PUT_IN:
                raise InvalidInput(f"{values.GET}: more than {MAX_PUT_IN} bytes are put in")
            return found

        found = values.put_in(parameters, "parameters", find)
        if deeper_than(found, MAX_DEPTH):  # no agent would take the command
            raise InvalidInput(
                f"{values.GET}: parameters are nested deeper than {MAX_DEPTH} levels"
            )
        self._put_in += size
        return found

    def keep(self, row: Record, rules: Rules) -> bool:
        """Keep what an entry returns under the name that it registers, until it is written down.

        :param row: the entry, whose case has ended
        :returns: False if its output is still on its way
        """
        if rules.register is None or row.case_result != Result.PASS:
            return True
        value = row.case_data
        if value is None:
            value = self._first_line(row)
            if value is None:
                return False
        if _size(value) > MAX_SIZE:
            value = TOO_LARGE
        elif self._all + _size(value) > MAX_ALL:
            value = TOO_MUCH
        self._all += _size({rules.register: value})
        self.values[rules.register] = value
        self._changed = True
        return True

    def write_down(self) -> None:
        """Write down what was kept, at once: all of it is one value of a row, and may be large."""
        if self._changed:
            plans.change(self._connection, self._plan, {"registered": self.values})
            self._changed = False

    def _first_line(self, row: Record) -> str | None:
        """Return the first line of an entry's output; None if it may still come."""
        if not row.case_output_size:
            return ""
        head = testcases.heads(self._connection, [row.case], MAX_LINE).get(row.case)
        if head is None:
            return None if self._now < row.case_finished_at + LATE else ""
        return head.decode(errors="replace").strip().partition("\n")[0].strip()


def _size(value: Any) -> int:
    return len(msgspec.json.encode(value))
