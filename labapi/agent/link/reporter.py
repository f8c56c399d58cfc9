"""Sending what the agent has to say, for as long as it takes until the broker has it."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from oslo_log import log

from labapi.exceptions import BrokerUnavailable
from labapi.rpc.messages import CaseResult, CaseStarted, Message, Output
from labapi.rpc.publisher import Envelope, Publisher
from labapi.rpc.transport import REPORTS, Transport, agent_queue, control_queue

LOG = log.getLogger(__name__)

BATCH = 64  # reports that are sent and confirmed together
FIRST_PAUSE = 0.5  # seconds after the first failure; doubled up to [messaging] retry_interval_max


@dataclass(frozen=True, slots=True)
class Report:
    """Messages that belong together.

    :ivar attempt: the attempt that they end, None if they end none
    :ivar made: monotonic time at which they were true
    """

    messages: Sequence[Message]
    attempt: str | None = None
    made: float = field(default_factory=time.monotonic)


class Reporter(threading.Thread):
    """Sends reports in their order; never gives one up.

    :param confirmed: gets the reports that the broker has
    :param lost: called when the broker does not answer any more
    :param back: called when the broker is back after it was away
    """

    def __init__(
        self,
        transport: Transport,
        host: str,
        *,
        confirmed: Callable[[list[Report]], None],
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        super().__init__(name="agent-reporter", daemon=True)
        # The answer to the first announcement must find its queue there.
        self._publisher = Publisher(transport, queues=[agent_queue(host), control_queue(host)])
        self._pause_max = transport.retry_interval_max
        self._host = host
        self._confirmed = confirmed
        self._lost = lost
        self._back = back
        self._change = threading.Condition()
        self._reports: deque[Report] = deque()
        self._latest: dict[str, Message] = {}
        self._stopping = False
        self._away = False

    def submit(self, report: Report) -> None:
        """Send a report; it waits for as long as the broker is away."""
        with self._change:
            self._reports.append(report)
            self._change.notify()

    def tell(self, message: Message) -> None:
        """Send a message that replaces any earlier one of its kind."""
        with self._change:
            self._latest[type(message).__name__] = message
            self._change.notify()

    def stop(self, timeout: float) -> bool:
        """Send what is waiting, for at most so many seconds; return whether all of it was."""
        with self._change:
            self._stopping = True
            self._change.notify()
        self.join(timeout)
        return not self.is_alive() and not self._reports

    def run(self) -> None:
        """Send until stopped; while stopping, give up at the first failure."""
        pause = 0.0
        while True:
            with self._change:
                if pause:
                    self._change.wait_for(lambda: self._stopping, pause)
                else:
                    self._change.wait_for(lambda: self._pending or self._stopping)
                if not self._pending:
                    break
                reports = [self._reports.popleft() for _ in range(min(BATCH, len(self._reports)))]
                latest, self._latest = self._latest, {}
            if self._send(reports, latest):
                pause = 0.0
                continue
            if self._stopping:
                break
            pause = min(max(2 * pause, FIRST_PAUSE), self._pause_max)
            pause *= random.uniform(0.5, 1.0)  # noqa: S311 (spreads the agents of a lab)
        self._publisher.close()

    @property
    def _pending(self) -> bool:
        return bool(self._reports or self._latest)

    def _send(self, reports: list[Report], latest: dict[str, Message]) -> bool:
        """Send and settle a batch; put back what was not taken."""
        envelopes = [self._envelope(message) for message in latest.values()]
        owners: dict[int, Report] = {}
        for report in reports:
            for message in report.messages:
                envelope = self._envelope(_aged(message, report.made))
                owners[id(envelope)] = report
                envelopes.append(envelope)
        try:
            returned = self._publisher.publish(envelopes)
        except Exception as error:
            if not isinstance(error, BrokerUnavailable):
                LOG.error("reports cannot be sent", exc_info=error)
                self._publisher.close()
            self._note_away(str(error))
            self._put_back(reports, latest)
            return False
        missed = [owners[id(envelope)] for envelope in returned]
        done = [report for report in reports if report not in missed]
        if done:
            self._confirmed(done)
        if missed:
            self._note_away("no queue takes results")
            self._put_back([report for report in reports if report in missed], {})
            return False
        if self._away:
            self._away = False
            LOG.info("the message broker is back")
            self._back()
        return True

    def _note_away(self, why: str) -> None:
        if not self._away:
            LOG.warning("reports wait: %s", why)
            self._lost()
        self._away = True

    def _put_back(self, reports: list[Report], latest: dict[str, Message]) -> None:
        with self._change:
            self._reports.extendleft(reversed(reports))
            self._latest = {**latest, **self._latest}

    def _envelope(self, message: Message) -> Envelope:
        if isinstance(message, CaseResult | CaseStarted):
            return Envelope(message, f"result.{self._host}", REPORTS.name, mandatory=True)
        if isinstance(message, Output):
            return Envelope(message, f"output.{self._host}", REPORTS.name)
        return Envelope(message, f"heartbeat.{self._host}", REPORTS.name)


def _aged(message: Message, made: float) -> Message:
    """Return a message that tells its age with the seconds that it has waited added."""
    if isinstance(message, CaseResult | CaseStarted):
        return replace(message, age=round(message.age + time.monotonic() - made, 6))
    return message
