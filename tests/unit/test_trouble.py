from __future__ import annotations

import logging

import pytest

from labapi.exceptions import DatabaseUnavailable
from labapi.trouble import Trouble


def test_each_error_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble(logging.getLogger("loop"), "the loop")
    caplog.set_level(logging.INFO, logger="loop")

    def work(error: Exception | None, cause: Exception | None = None) -> None:
        with trouble.told():
            if error is not None:
                raise error from cause

    away = DatabaseUnavailable("the database is away")
    for error in (None, away, away, KeyError("column"), KeyError("column"), None, None):
        work(error, OSError("cut") if error is away else None)
    told = [(r.levelname, r.getMessage(), bool(r.exc_info)) for r in caplog.records]
    assert told == [
        ("WARNING", "the loop: the database is away: cut", False),
        ("ERROR", "the loop failed", True),
        ("INFO", "the loop works again", False),
    ]
