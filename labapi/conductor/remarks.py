"""What cases say of their host, which has them and is down."""

from __future__ import annotations

from labapi.db.session import Record
from labapi.servicegroup.driver import silence_of

DOWN = "the host is down"  # how each of these remarks begins
REFUSED = "its agent refused it, for it does not trust the key that signed the command"


def of_running(case: Record) -> str:
    """Return the detail of a case whose host, which has it, is down."""
    return f"{DOWN}: {silence_of(case)}; the case is lost if it does not come back"
