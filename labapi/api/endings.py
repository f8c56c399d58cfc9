"""Cases with their outputs, as they are shown when they end, or to whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from oslo_config import cfg

from labapi.api import host_guard
from labapi.api.backend.output import OutputOnItsWay, Reader
from labapi.api.backend.waiters import Ended, Waiters
from labapi.api.views import testcases as views
from labapi.api.waiting import Waiting
from labapi.case import State
from labapi.db import testcases
from labapi.db.session import Database, Record
from labapi.rpc.messages import Ending

# Seconds beyond ?wait= that the output of a finished case may take.
OUTPUT_GRACE = 1.0


class Endings:
    """Shows cases whole, and waits for their ends.

    :param conf: configuration with the group ``[api]``
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: Database,
        waiters: Waiters,
        output: Reader,
        waiting: Waiting,
    ) -> None:
        self._inline: int = conf.api.inline_output
        self._database = database
        self._waiters = waiters
        self._output = output
        self._waiting = waiting

    def whole(
        self, case: Record, until: float | None = None, most: int | None = None
    ) -> views.WholeCase:
        """Show a case with the beginning of its output.

        :param until: monotonic time after which to wait no longer for output that is on its way
        :param most: bytes of output, if not as many as are configured
        :raises OutputOnItsWay: that time is over, or this process stops
        """
        inline = self._inline if most is None else most
        output = b"".join(self._output.text(case, enough=inline, until=until))
        (told,) = self._waiting.told([case._asdict()])
        return views.whole(told, output[:inline], truncated=len(output) > inline)

    def beginnings(self, cases: Iterable[dict[str, Any]]) -> list[views.WholeCase]:
        """Show cases that were just made, by their columns."""
        return [views.whole(case, b"", truncated=False) for case in self._waiting.told(cases)]

    def one(self, made: Mapping[str, Any], ended: Ended, wait: float) -> views.WholeCase | None:
        """Show a case that has ended, None if it does not within ``wait`` seconds.

        For a client that waits, a case has not ended while its output is still on its way.

        :param made: the columns that it has since it was made
        """
        if not wait:
            return None
        until = time.monotonic() + wait + OUTPUT_GRACE
        case = self._waiters.wait_for(ended, wait, lambda: self._ending(made["uuid"], ended))
        if case is None:
            return None
        if isinstance(case, Ending):
            return _told(made, case)
        head = case.head or b""
        if len(head) == case.output_size <= self._inline:
            return views.whole(case._asdict(), head, truncated=False)
        try:
            return self.whole(case, until)
        except OutputOnItsWay:
            return None

    def _ending(self, case: str, ended: Ended) -> Ending | Record | None:
        """Return how a case has ended: what its event told, or else what the database knows."""
        told = ended.told.get(case)
        if told is not None and len(told.output) <= self._inline:
            return told
        return self._database.read(testcases.ending, case)

    def all(self, batch: str, ended: Ended, wait: float) -> bool:
        """Wait until all cases of a batch have ended; false if that takes more than ``wait`` s."""
        if not wait:
            return False
        return self._waiters.wait_for(
            ended, wait, lambda: self._database.read(testcases.left, batch) == 0
        )

    def batch(
        self, environ: Mapping[str, Any], batch: str, count: int, wait: float = 0
    ) -> list[views.WholeCase]:
        """Show the cases of a batch that this client may see, in the order of their making.

        Each has its share of what a page may hold, so that a thousand do not take all memory.

        :param count: how many cases the batch has
        :param wait: seconds that the caller has waited for them: those that are finished are shown
            when their output is here, if that does not take too long
        """
        share = min(self._inline, testcases.PAGE_BYTES // count)
        rows = self._database.read(testcases.batch, batch, share)
        ran = [case.uuid for case in rows if case.state == State.FINISHED and case.output_size]
        heads = self._database.read(testcases.heads, ran, share) if ran else {}
        until = time.monotonic() + (OUTPUT_GRACE if wait else 0)
        return [
            self._of_batch(case, heads.get(case.uuid, b""), share, until)
            for case in rows
            if not host_guard.hidden_case(environ, case)
        ]

    def _of_batch(self, case: Record, head: bytes, share: int, until: float) -> views.WholeCase:
        if case.state == State.FINISHED and len(head) < min(case.output_size, share):
            try:
                return self.whole(case, until, share)
            except OutputOnItsWay:
                return views.whole(case._asdict(), head, truncated=True)
        return views.whole(case._asdict(), head[:share], truncated=len(head) < case.output_size)


def _told(made: Mapping[str, Any], ending: Ending) -> views.WholeCase:
    """Show a case as its event told of its end; the database has the same."""
    columns = {
        **made,
        **msgspec.structs.asdict(ending),
        "state": State.FINISHED,
        "output_size": len(ending.output),
    }
    return views.whole(columns, ending.output, truncated=False)
