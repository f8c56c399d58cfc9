"""How test cases look from outside."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec


class Case(msgspec.Struct, kw_only=True):
    """A case without its output. Each field but three is the column of its name.

    :ivar id: the column ``uuid``
    :ivar placement: what it asks of its host; None for a case that names one
    :ivar priority: the negative of the column ``queue_rank``
    """

    id: str
    plugin: str
    host: str | None
    method: str
    parameters: Any
    timeout: float
    rerun_on_loss: bool
    placement: dict[str, Any] | None = None
    batch: str | None = None
    plan: str | None = None
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


class WaitingCase(WholeCase, kw_only=True):
    """A case that waits, and what for.

    :ivar waiting: see :class:`labapi.api.why.Waits`
    """

    waiting: Any


_COLUMNS = [name for name in Case.__struct_fields__ if name not in ("id", "priority", "placement")]
# What the pipeline added to what the caller asked for.
_ADDED = ("client", "access")


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


def waiting(case: WholeCase, why: Any) -> WaitingCase:
    """Return a case that waits together with what it waits for."""
    return WaitingCase(**msgspec.structs.asdict(case), waiting=why)


def asked(placement: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a case asks of its host, without what the pipeline has added."""
    return {name: value for name, value in placement.items() if name not in _ADDED}


def _fields(case: Mapping[Any, Any]) -> dict[str, Any]:
    fields = {name: case[name] for name in _COLUMNS if name in case}
    if case.get("placement") is not None:
        fields["placement"] = asked(case["placement"])
    return {**fields, "id": case["uuid"], "priority": -case["queue_rank"]}
