"""What a conductor counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Began(NamedTuple):
    """How long it took until a case began, in seconds.

    :ivar waited: until a host was given it
    :ivar on_its_way: from then on
    """

    waited: float
    on_its_way: float


class Meters:
    """What is counted; here, for a conductor that shows no numbers, nothing is.

    :cvar on: whether what costs a look into the database is wanted
    """

    on = False

    def ended(self, result: str, reason: str | None, count: int = 1) -> None:
        """Count cases that are finished."""

    def began(self, cases: Iterable[Began]) -> None:
        """Note how long cases took to begin."""

    def resent(self, count: int) -> None:
        """Count commands that were sent again."""

    def refused(self) -> None:
        """Count a report that counts for nothing."""

    def read(self, reader: str, messages: int, dropped: int) -> None:
        """Note how many messages a reader took at once, and how many of them it dropped."""

    def hosts(self, up: int, down: int) -> None:
        """Note how many hosts are up, and how many are not."""

    def moved(self) -> None:
        """Count a transaction that moved a test plan on."""

    def plans(self, states: Mapping[str, int]) -> None:
        """Note how many test plans are in each state."""

    def waiting(self, cases: int, oldest: float) -> None:
        """Note how many cases wait, and the age of the oldest in seconds."""
