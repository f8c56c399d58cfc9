"""What a method may return."""

from __future__ import annotations

from typing import Any

import pytest

from labapi.agent.attempts.runner import _ending
from labapi.agent.plugins.base import Outcome


@pytest.mark.parametrize("code", [2**31, -(2**31) - 1, "0", 1.5])
def test_an_exit_code_that_no_report_holds(code: Any) -> None:
    ending = _ending(Outcome("FAIL", exit_code=code))
    assert (ending.result, ending.reason) == ("ERROR", "bad_data")


def test_the_end_by_a_signal_is_an_exit_code() -> None:
    assert _ending(Outcome("FAIL", exit_code=-9)).exit_code == -9
