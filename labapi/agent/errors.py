"""How a method says that it cannot give a plain PASS; each becomes a result with its text."""

from __future__ import annotations

from labapi.case import Reason
from labapi.exceptions import LabapiError


class TestFailed(LabapiError):
    """The test's verdict is FAIL; the text says what was expected and what was found."""

    __test__ = False  # pytest would take the name for a test


class CaseError(LabapiError):
    """The case cannot be run, or its verdict cannot be found: the lab's fault, not the test's.

    :param reason: machine-readable, for who counts such faults
    """

    def __init__(self, text: str, reason: str = Reason.EXCEPTION) -> None:
        super().__init__(text)
        self.reason = reason


class CannotStart(CaseError):
    """A program that cannot be started; the text says why."""

    def __init__(self, text: str) -> None:
        super().__init__(text, Reason.CANNOT_START)
