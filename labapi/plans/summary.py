"""What everybody is told of a plan: in lists, in reports, and when it ends."""

from __future__ import annotations

import datetime
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound="Summary")


class Summary(msgspec.Struct, kw_only=True):
    """A plan without its entries. Each field but ``id`` is the column of its name.

    :ivar id: the column ``uuid``
    """

    id: str
    name: str
    state: str
    result: str | None
    reason: str | None
    detail: str | None
    rerun_of: str | None
    created_at: datetime.datetime
    started_at: datetime.datetime | None
    finished_at: datetime.datetime | None
    project_id: str | None
    user_id: str | None
    request_id: str

    @classmethod
    def of(cls: type[S], plan: Any, **more: Any) -> S:
        """Return what a row says.

        :param more: the fields that a subclass adds
        """
        own = [name for name in Summary.__struct_fields__ if name != "id"]
        return cls(id=plan.uuid, **{name: getattr(plan, name) for name in own}, **more)
