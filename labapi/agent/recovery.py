"""After a restart: end what the agent before this one had started, and send what it had not."""

from __future__ import annotations

import sqlite3
import time

from labapi.agent.attempts.journal import Journal, Unfinished
from labapi.agent.link.reporter import Report, Reporter
from labapi.agent.plugins.run import Surroundings
from labapi.agent.processes import proc
from labapi.agent.processes.cgroup import Group
from labapi.agent.processes.tree import Ended, end_all
from labapi.case import Reason, Result
from labapi.exceptions import ConfigError
from labapi.rpc import messages


def recover(journal: Journal, surroundings: Surroundings, host: str, reporter: Reporter) -> None:
    """Clear up after an agent that did not stop cleanly.

    :raises ConfigError: the journal cannot be written
    """
    try:
        _recover(journal, surroundings, host, reporter)
    except sqlite3.Error as error:
        raise ConfigError(f"the agent's journal cannot be written: {error}") from error


def _recover(journal: Journal, surroundings: Surroundings, host: str, reporter: Reporter) -> None:
    for ended in journal.unreported():
        _send_output(journal, ended.attempt, ended.case, host, reporter)
        report = [messages.decode(message) for message in ended.report]
        reporter.submit(Report(report, ended.attempt, time.monotonic() - ended.age))
    groups = surroundings.groups.left() if surroundings.groups is not None else {}
    for left in journal.unfinished():
        group = groups.get(left.attempt)
        remains = _end(left, group, surroundings.grace)
        size = _send_output(journal, left.attempt, left.case, host, reporter)
        result = messages.CaseResult(
            case=left.case,
            attempt=left.attempt,
            host=host,
            result=Result.ERROR,
            reason=Reason.AGENT_RESTARTED,
            detail=f"the agent was restarted while it ran; {remains}",
            output_offset=size,
            output_size=size,
        )
        journal.finished(left.attempt, [messages.encode(result)])
        reporter.submit(Report([result], left.attempt))
    journal.forget_waiting()
    for group in groups.values():
        group.kill()
        group.remove()


def _send_output(journal: Journal, attempt: str, case: str, host: str, reporter: Reporter) -> int:
    """Send what an attempt wrote and the broker may not have; return where that ends, in bytes."""
    pieces = [
        messages.Output(case=case, attempt=attempt, host=host, offset=offset, data=data)
        for offset, data in journal.output(attempt)
    ]
    if not pieces:
        return 0
    reporter.submit(Report(pieces))
    return pieces[-1].offset + len(pieces[-1].data)


def _end(left: Unfinished, group: Group | None, grace: float) -> Ended:
    def members() -> list[proc.Process]:
        return _remains(left, group)

    def quiet() -> bool:
        return group is None or group.empty()

    def kill(_: object) -> None:
        if group is not None:
            group.kill()

    return end_all(members, quiet, grace, kill=kill)


def _remains(attempt: Unfinished, group: Group | None) -> list[proc.Process]:
    """Return the processes that are left of an attempt; they are nobody's children by now.

    They are known by the attempt's id in their environment, by the sessions that the journal has
    recorded, by their control group, and by descent from one of these.
    """
    processes = {process.pid: process for process in proc.every() if process.alive}
    marked = {pid for pid in processes if proc.marker(pid) == attempt.attempt}
    if group is not None:
        marked |= {process.pid for process in group.processes()} & processes.keys()
    sessions = set()
    for pid, start in attempt.processes:
        leader = processes.get(pid)
        # A number is a session of the attempt as long as its leader or a marked member proves it;
        # otherwise it may have been given to another process since.
        if (leader is not None and leader.start == start) or any(
            processes[member].session == pid for member in marked
        ):
            sessions.add(pid)
    found = marked | {p.pid for p in processes.values() if p.session in sessions}
    while more := {p.pid for p in processes.values() if p.parent in found} - found:
        found |= more
    return [processes[pid] for pid in found]
