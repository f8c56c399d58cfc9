"""How test cases look from outside."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec


class Case(msgspec.Struct, kw_only=True):
    """A case without its output. Each field but two is the column of its name.

    :ivar id: the column ``uuid``
    :ivar priority: the negative of the column ``queue_rank``
    """

    id: str
    plugin: str
    host: str
    method: str
    parameters: Any
    timeout: float
    rerun_on_loss: bool
    state: str
    result: str | None = None
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None
    data: Any = None
    output_size: int = 0
    created_at: datetime.datetime
    started_at: datetime.datetime | None = None
    finished_at: datetime.datetime | None = None
    project_id: str | None
    user_id: str | None
    request_id: str
    priority: int


class WholeCase(Case, kw_only=True):
    """A case with the beginning of its output.

    :ivar output: what is not UTF-8 in it shows as the replacement character
    :ivar output_truncated: there is more output than this
    """

    output: str
    output_truncated: bool


_COLUMNS = [name for name in Case.__struct_fields__ if name not in ("id", "priority")]


def summary(case: Mapping[Any, Any]) -> Case:
    """Return a case without its output.

    :param case: its columns; one that is made just now lacks those that its end sets
    """
    return Case(**_fields(case))


def whole(case: Mapping[Any, Any], output: bytes, *, truncated: bool) -> WholeCase:
    """Return a case with the beginning of its output.

    :param output: bytes of its beginning
    :param truncated: there is more output than this
    """
    text = output.decode("utf-8", errors="replace")
    return WholeCase(**_fields(case), output=text, output_truncated=truncated)


def _fields(case: Mapping[Any, Any]) -> dict[str, Any]:
    fields = {name: case[name] for name in _COLUMNS if name in case}
    return {**fields, "id": case["uuid"], "priority": -case["queue_rank"]}
