"""When a request is sent again, and after which pause."""

from __future__ import annotations

import random
from dataclasses import dataclass

ATTEMPTS = 4  # times that a request is sent, the first one included
SILENT_ATTEMPTS = 2  # times that a request is sent whose answer does not come in time
PAUSE = 0.1  # seconds before it is sent again; twice as long each time
MAX_PAUSE = 5.0  # seconds
MAX_RETRY_AFTER = 30.0  # seconds; a lab that wants to be left alone for longer has its will

SAFE = frozenset({"GET", "HEAD"})
IDEMPOTENT = SAFE | {"PUT"}


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after which pause.

    :ivar attempts: times that a request is sent, the first one included
    :ivar max_retry_after: seconds; a ``Retry-After`` beyond is not waited for
    """

    attempts: int = ATTEMPTS
    max_retry_after: float = MAX_RETRY_AFTER

    def pause(
        self, attempt: int, retry_after: float | None = None, *, silent: bool = False
    ) -> float | None:
        """Return the seconds to wait before the next attempt, None to give up.

        :param attempt: how many times the request was sent
        :param retry_after: seconds that the lab asks for
        :param silent: its answer did not come in time
        """
        if attempt >= (min(self.attempts, SILENT_ATTEMPTS) if silent else self.attempts):
            return None
        if retry_after is not None:
            return None if retry_after > self.max_retry_after else retry_after
        longest = min(PAUSE * 2 ** (attempt - 1), MAX_PAUSE)
        return random.uniform(longest / 2, longest)  # noqa: S311  (no secret: clients spread)


def may_repeat(method: str, headers: dict[str, str]) -> bool:
    """Say whether sending a request twice does the same as sending it once."""
    return method in IDEMPOTENT or "Idempotency-Key" in headers
