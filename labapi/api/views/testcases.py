"""How test cases look from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = (
    "plugin",
    "host",
    "method",
    "parameters",
    "timeout",
    "rerun_on_loss",
    "state",
    "result",
    "reason",
    "detail",
    "exit_code",
    "data",
    "output_size",
    "created_at",
    "started_at",
    "finished_at",
    "project_id",
    "user_id",
    "request_id",
)


def summary(case: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a case without its output.

    :param case: its columns; those that are not there are null
    """
    shown = {name: case.get(name) for name in _SHOWN}
    return {"id": case["uuid"], **shown, "priority": -case["queue_rank"]}


def whole(case: Mapping[Any, Any], output: bytes, *, truncated: bool) -> dict[str, Any]:
    """Return a case with the beginning of its output.

    :param output: bytes; what is not UTF-8 in them shows as the replacement character
    :param truncated: there is more output than this
    """
    return {
        **summary(case),
        "output": output.decode("utf-8", errors="replace"),
        "output_truncated": truncated,
    }
