"""A report as JUnit XML, as Jenkins, GitLab and their kind read it.

FAIL is a failure. ERROR, TIMEOUT and CANCELLED are errors: the test has said nothing. What did not
run is skipped. A step is a test suite. What passed after another try has a ``flakyFailure`` or
``flakyError`` for each of those before, as Maven's Surefire writes them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

from labapi.case import Result
from labapi.plans.report import Item, Report, Section
from labapi.plans.tally import Tally

CONTENT_TYPE = "application/xml"
PIECE = 16384  # bytes that are gathered before they are handed on


def junit(report: Report) -> Iterator[bytes]:
    """Write a report, piece by piece."""
    out = io.BytesIO()
    xml = XMLGenerator(out, "utf-8", short_empty_elements=True)
    xml.startDocument()
    name = report.plan.name
    _start(xml, "testsuites", {"name": name, **_sums(report.tally)})
    for section in report.sections:
        _begin(xml, section, report)
        for item in section.entries:
            _case(xml, item, f"{name}.{section.name.replace('/', '.')}")
            if out.tell() > PIECE:
                yield _taken(out)
        xml.endElement("testsuite")
    xml.endElement("testsuites")
    xml.endDocument()
    yield _taken(out) + b"\n"


def _taken(out: io.BytesIO) -> bytes:
    data = out.getvalue()
    out.seek(0)
    out.truncate()
    return data


def _sums(tally: Tally) -> dict[str, str]:
    counts = tally.counts
    errors = sum(counts[kind] for kind in (Result.ERROR, Result.TIMEOUT, Result.CANCELLED))
    return {
        "tests": str(tally.total),
        "failures": str(counts[Result.FAIL]),
        "errors": str(errors),
        "time": f"{tally.seconds:.3f}",
    }


def _begin(xml: XMLGenerator, section: Section, report: Report) -> None:
    tally = section.tally
    ran = sum(tally.counts[result] for result in Result)
    about = {"name": section.name, **_sums(tally), "skipped": str(tally.total - ran)}
    if tally.started_at is not None:
        about["timestamp"] = f"{tally.started_at:%Y-%m-%dT%H:%M:%S}"
    _start(xml, "testsuite", about)
    _start(xml, "properties")
    for name, value in (("plan", report.plan.id), ("description", section.description)):
        if value:
            _element(xml, "property", {"name": name, "value": value})
    xml.endElement("properties")


def _case(xml: XMLGenerator, item: Item, classname: str) -> None:
    about = {"name": f"{item.name}: {item.title}", "classname": classname}
    _start(xml, "testcase", {**about, "time": f"{item.seconds or 0:.3f}"})
    if item.result is None:
        _element(xml, "skipped", {"message": item.why or item.state})
    elif item.flaky:
        for number in range(1, item.tries):
            what = {"type": "retry", "message": f"try {number} of {item.tries} did not pass"}
            _element(xml, _flaky(item), what)
    elif item.result != Result.PASS:
        kind = "failure" if item.result == Result.FAIL else "error"
        what = {"type": item.reason or item.result, "message": item.why or item.result}
        where = f"host: {item.host}\ncase: {item.case}\n"
        _element(xml, kind, what, f"{item.result}: {item.why}\n{where}")
    if item.log:
        _element(xml, "system-out", {}, item.log + ("\n[…]" if item.truncated else ""))
    xml.endElement("testcase")


def _flaky(item: Item) -> str:
    """Return the element for a try that did not pass; which result it had is not kept."""
    return "flakyFailure" if item.retried_on == (Result.FAIL,) else "flakyError"


def _start(xml: XMLGenerator, name: str, attributes: Mapping[str, str] | None = None) -> None:
    xml.startElement(name, AttributesImpl(attributes or {}))


def _element(xml: XMLGenerator, name: str, attributes: Mapping[str, str], text: str = "") -> None:
    _start(xml, name, attributes)
    if text:
        xml.characters(text)
    xml.endElement(name)
