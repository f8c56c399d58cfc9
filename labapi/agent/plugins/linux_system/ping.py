"""Echo requests by ``fping`` where it is installed, else by ``ping``; their reports as numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from labapi.agent.errors import CannotStart, CaseError
from labapi.agent.plugins.base import Outcome
from labapi.agent.plugins.run import Run
from labapi.case import Reason, Result
from labapi.exceptions import InvalidInput

INTERVAL = 0.2  # seconds between requests; the shortest that users other than root may choose
ANSWER = 1.0  # seconds that an answer may take
CAPTURE = 65536  # bytes of the program's report that are read
NO_ADDRESS = 2  # fping's and ping's exit status for a name that has no address, among others

_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?", re.ASCII)
_TIMES = re.compile(r"^\S+ +: (?P<times>[-0-9. ]+)$", re.MULTILINE)
_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) (?:packets )?received")
_RTT = re.compile(r"(?:rtt|round-trip) min/avg/max(?:/mdev)? = ([\d.]+)/([\d.]+)/([\d.]+)")


def echo(run: Run, host: str, count: int) -> Outcome:
    """Send echo requests and count the answers.

    :param host: a name or an address; nothing that a program could take for an option
    :returns: PASS if there was an answer; data: ``sent``, ``received``, ``min_ms`` … (milliseconds)
    :raises InvalidInput: ``host`` is neither
    :raises CaseError: there is neither program, or it may not send
    """
    host = _checked(host)
    problems = []
    for program, options, read in (
        ("fping", ["-q", "-C", str(count), "-p", f"{INTERVAL * 1000:g}"], _read_fping),
        ("ping", ["-n", "-q", "-c", str(count), "-i", f"{INTERVAL:g}"], _read_ping),
    ):
        answer = f"{ANSWER * 1000:g}" if program == "fping" else f"{ANSWER:g}"
        wait = "-t" if program == "fping" else "-W"
        argv = [program, *options, wait, answer, "--", host]
        try:
            done = run.execute(argv, env={"LC_ALL": "C"}, capture=CAPTURE)
        except CannotStart as error:
            problems.append(str(error))
            continue
        report = done.captured.decode(errors="replace")
        outcome = _outcome(host, read, report, done.exit_code)
        if outcome is not None:
            return outcome
        problems.append(f"{program}: {report.strip()[:500]} (exit status {done.exit_code})")
    raise CaseError("; ".join(problems), Reason.CANNOT_START)


def _outcome(
    host: str,
    read: Callable[[str], dict[str, Any] | None],
    report: str,
    exit_code: int | None,
) -> Outcome | None:
    """Return what a program's report means; None if it says nothing of the host."""
    data = read(report)
    if data is not None:
        received = data["received"]
        detail = None if received else f"none of {data['sent']} requests to {host} was answered"
        return Outcome(Result.PASS if received else Result.FAIL, exit_code, detail, data)
    if exit_code == NO_ADDRESS:
        return Outcome(
            Result.FAIL, exit_code, f"{host} cannot be addressed: {report.strip()[:500]}"
        )
    return None


def _checked(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if _NAME.fullmatch(host):
            return host
    raise InvalidInput(f"parameters.host: {host!r} is neither a host name nor an address")


def _read_fping(report: str) -> dict[str, Any] | None:
    """Read ``host : 0.04 - 0.05``: a time in ms, or a dash, for each request."""
    found = _TIMES.search(report)
    if found is None:
        return None
    entries = found["times"].split()
    times = [float(entry) for entry in entries if entry != "-"]
    data: dict[str, Any] = {"sent": len(entries), "received": len(times)}
    if times:
        data |= _rtt(min(times), sum(times) / len(times), max(times))
    return data


def _read_ping(report: str) -> dict[str, Any] | None:
    """Read the summary that ``ping -q`` ends with (iputils, busybox)."""
    found = _COUNTS.search(report)
    if found is None:
        return None
    data: dict[str, Any] = {"sent": int(found[1]), "received": int(found[2])}
    if (rtt := _RTT.search(report)) is not None:
        data |= _rtt(*(float(value) for value in rtt.groups()))
    return data


def _rtt(shortest: float, average: float, longest: float) -> dict[str, float]:
    return {"min_ms": shortest, "avg_ms": round(average, 3), "max_ms": longest}
