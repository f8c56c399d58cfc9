"""The words for what becomes of a case: its state, its result, and the reason for the result.

They are strings, so that rows, messages and answers hold them as they are.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """How far a case is; it only ever moves down this list, but for a case that is run again."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"


# A host has these cases, or is to have them: their command is on its way.
ACTIVE = (State.RUNNING, State.CANCELLING)


class Result(StrEnum):
    """How a case ended: FAIL is the test's verdict, ERROR is the lab's fault."""

    PASS = "PASS"  # noqa: S105 (not a password)
    FAIL = "FAIL"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    CANCELLED = "CANCELLED"


class Reason(StrEnum):
    """Why a case has a result that is no verdict; plugins may add words of their own."""

    # Given by agents.
    BAD_DATA = "bad_data"
    CANNOT_FETCH = "cannot_fetch"
    CANNOT_START = "cannot_start"
    EXCEPTION = "exception"
    NO_SPACE = "no_space"
    REJECTED = "rejected"
    AGENT_RESTARTED = "agent_restarted"
    AGENT_STOPPED = "agent_stopped"
    # Given by conductors.
    AGENT_LOST = "agent_lost"
    NO_VALID_HOST = "no_valid_host"
    EXPIRED = "expired"
    # Given when an operator removes a host.
    HOST_REMOVED = "host_removed"
    # Given by both.
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


# Verdicts of conductors: the agent may not know of them.
GIVEN_UP = frozenset({Reason.AGENT_LOST, Reason.EXPIRED})

# Fields of a body: what can be asked of a host that the scheduler chooses.
WANTS = (
    "requires",
    "prefer",
    "group",
    "zone",
    "lease",
    "same_host_as",
    "different_host_from",
    "on_no_host",
)
