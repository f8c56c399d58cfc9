"""How cases ended: the exit status, a line for people, and a file for CI systems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labapi_client.managers.testcases import Case
    from labapi_client.plan_tree import Entry, Plan

# By result, from the best to the worst: of several cases the worst counts.
STATUS = {"PASS": 0, "FAIL": 1, "TIMEOUT": 3, "CANCELLED": 4, "ERROR": 2}
_ORDER = list(STATUS)

# What XML 1.0 cannot say at all.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def status(ended: Iterable[Case | Plan]) -> int:
    """Return the exit status that finished cases or plans stand for."""
    results = [one.result or "ERROR" for one in ended]
    return STATUS[max(results, key=_ORDER.index, default="PASS")]


def sentence(case: Case) -> str:
    """Return a line that says how a case ended."""
    what = f"{case.plugin}.{case.method}"
    return _sentence(case, f"{case.result}: {what}", case.host, case.id)


def entry_sentence(entry: Entry) -> str:
    """Return a line that says how an entry of a plan ended."""
    given = entry.input
    what = f"{entry.path} {given.get('plugin')}.{given.get('method')}"
    return _sentence(entry, f"{entry.result}: {what}", given.get("host"), entry.case)


def plan_sentence(plan: Plan) -> str:
    """Return a line that says how a plan ended."""
    counts = counted(plan.counts)
    return _sentence(plan, f"{plan.result}: {plan.name} ({counts})", None, None) + (
        f" [plan {plan.id}]"
    )


def _sentence(ended: Case | Entry | Plan, text: str, host: str | None, case: str | None) -> str:
    text += f" on {host}" if host else ""
    if (seconds := duration(ended)) is not None:
        text += f", {seconds:.1f} s"
    exit_code = getattr(ended, "exit_code", None)
    if exit_code is not None:
        text += f", exit code {exit_code}"
    why = " ".join(filter(None, (ended.reason, ended.detail and f"({ended.detail})")))
    return f"{text}{f': {why}' if why else ''}" + (f" [case {case}]" if case else "")


def counted(counts: Mapping[str, int]) -> str:
    """Return counts of results and states as text: what there is none of is left out."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def duration(ended: Case | Entry | Plan) -> float | None:
    """Return the seconds that something ran, None if it did not."""
    if ended.started_at is None or ended.finished_at is None:
        return None
    return (ended.finished_at - ended.started_at).total_seconds()


def write_junit(file: Path, cases: Sequence[Case]) -> None:
    """Write finished cases down as CI systems read them.

    FAIL is a failure; ERROR, TIMEOUT and CANCELLED are errors: the test has said nothing.

    :raises OSError: the file cannot be written
    """
    from xml.etree import ElementTree

    failed = sum(case.result == "FAIL" for case in cases)
    errors = sum(case.result not in ("PASS", "FAIL") for case in cases)
    counts = {"tests": len(cases), "failures": failed, "errors": errors}
    about = {"name": "lab", **{name: str(count) for name, count in counts.items()}}
    suite = ElementTree.Element("testsuite", about)
    for case in cases:
        seconds = duration(case) or 0.0
        name = _text(f"{case.plugin}.{case.method}")
        place = {"classname": _text(case.host or "lab"), "time": f"{seconds:.3f}"}
        item = ElementTree.SubElement(suite, "testcase", {"name": name, **place})
        properties = ElementTree.SubElement(item, "properties")
        ElementTree.SubElement(properties, "property", name="case", value=_text(case.id))
        if case.result != "PASS":
            kind = "failure" if case.result == "FAIL" else "error"
            problem = ElementTree.SubElement(
                item, kind, type=_text(case.reason or case.result or "")
            )
            problem.set("message", _text(sentence(case)))
        ElementTree.SubElement(item, "system-out").text = _text(case.output or "")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
