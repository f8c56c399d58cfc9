"""How test cases look from outside."""

from __future__ import annotations

from typing import Any

from labapi.db.session import Record

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


def summary(case: Record) -> dict[str, Any]:
    """Return a case without its output."""
    shown = {name: getattr(case, name) for name in _SHOWN}
    return {"id": case.uuid, **shown, "priority": -case.queue_rank}


def whole(case: Record, output: bytes, *, truncated: bool) -> dict[str, Any]:
    """Return a case with the beginning of its output.

    :param output: bytes; what is not UTF-8 in them shows as the replacement character
    :param truncated: there is more output than this
    """
    return {
        **summary(case),
        "output": output.decode("utf-8", errors="replace"),
        "output_truncated": truncated,
    }
