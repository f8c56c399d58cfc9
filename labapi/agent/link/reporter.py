"""What the agent has to say, until the broker has it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from oslo_log import log

from labapi.rpc.messages import CaseRefused, CaseResult, CaseStarted, Message, Output
from labapi.rpc.sender import Envelope
from labapi.rpc.transport import REPORTS

LOG = log.getLogger(__name__)

BATCH = 64  # reports that are sent and confirmed together


@dataclass(frozen=True, slots=True)
class Report:
    """Messages that belong together.

    :ivar attempt: the attempt that they end, None if they end none
    :ivar made: monotonic time at which they were true
    """

    messages: Sequence[Message]
    attempt: str | None = None
    made: float = field(default_factory=time.monotonic)


class Reporter:
    """Keeps reports in their order and never gives one up; the link takes and sends them.

    :param wake: called when there is something to send
    :param confirmed: gets the reports that the broker has
    :param lost: called when the broker does not answer any more
    :param back: called when the broker is back after it was away
    """

    def __init__(
        self,
        host: str,
        *,
        wake: Callable[[], None],
        confirmed: Callable[[list[Report]], None],
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        self._host = host
        self._wake = wake
        self._confirmed = confirmed
        self._lost = lost
        self._back = back
        self._lock = threading.Lock()
        self._reports: deque[Report] = deque()
        self._latest: dict[str, Message] = {}
        self._under_way: list[Report] = []
        self._repeated: dict[str, Message] = {}  # those of _latest that are under way
        self._owners: dict[int, Report] = {}
        self._away = False

    def unsent(self) -> int:
        """Return how many reports wait for the broker."""
        return len(self._reports) + len(self._under_way)

    def submit(self, report: Report) -> None:
        """Send a report; it waits for as long as the broker is away."""
        with self._lock:
            self._reports.append(report)
        self._wake()

    def tell(self, message: Message) -> None:
        """Send a message that replaces any earlier one of its kind."""
        with self._lock:
            self._latest[type(message).__name__] = message
        self._wake()

    @property
    def pending(self) -> bool:
        """Whether the broker does not have everything."""
        return bool(self._reports or self._latest or self._under_way or self._repeated)

    # For the link, in its thread: a batch is under way until it is taken or put back.

    def batch(self) -> list[Envelope]:
        """Return what to send now; nothing else is under way."""
        with self._lock:
            count = min(BATCH, len(self._reports))
            self._under_way = [self._reports.popleft() for _ in range(count)]
            self._repeated, self._latest = self._latest, {}
        self._owners = {}
        envelopes = [self._envelope(message) for message in self._repeated.values()]
        for report in self._under_way:
            for message in report.messages:
                envelope = self._envelope(_aged(message, report.made))
                self._owners[id(envelope)] = report
                envelopes.append(envelope)
        return envelopes

    def taken(self, returned: Sequence[Envelope]) -> bool:
        """Settle the batch that the broker has; keep what no queue took.

        :returns: whether all of it was taken
        """
        missed = [self._owners[id(envelope)] for envelope in returned]
        done = [report for report in self._under_way if report not in missed]
        self._under_way, self._repeated = missed, {}
        if done:
            self._confirmed(done)
        if missed:
            self.put_back()
            self.away("no queue takes results")
            return False
        if self._away:
            self._away = False
            self._back()
        return True

    def put_back(self) -> None:
        """Keep the batch that was under way: the broker may or may not have it."""
        with self._lock:
            self._reports.extendleft(reversed(self._under_way))
            self._latest = {**self._repeated, **self._latest}
            self._under_way, self._repeated = [], {}

    def away(self, why: str) -> None:
        """Note that reports have to wait."""
        if not self._away:
            LOG.warning("reports wait: %s", why)
            self._lost()
        self._away = True

    def _envelope(self, message: Message) -> Envelope:
        if isinstance(message, CaseResult | CaseStarted | CaseRefused):
            return Envelope(message, f"result.{self._host}", REPORTS.name, mandatory=True)
        if isinstance(message, Output):
            return Envelope(message, f"output.{self._host}", REPORTS.name)
        return Envelope(message, f"heartbeat.{self._host}", REPORTS.name)


def _aged(message: Message, made: float) -> Message:
    """Return a message that tells its age with the seconds that it has waited added."""
    if isinstance(message, CaseResult | CaseStarted):
        return replace(message, age=round(message.age + time.monotonic() - made, 6))
    return message
