"""Reports of plans: whatever names and outputs are, they are well-formed, safe and bounded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema

from labapi.db import plan_reports, testplans
from labapi.db.session import Database, Record
from labapi.plans import report_html, report_text, report_xml
from labapi.plans.entry import SKIPPED, Retry, Rules
from labapi.plans.plain import width
from labapi.plans.report import Item, Report, Section, shortened
from labapi.plans.summary import Summary
from labapi.plans.tally import KINDS, Tally
from tests import plans
from tests.plans import entry, step, waiting

SCHEMA = xmlschema.XMLSchema(Path(__file__).with_name("junit-10.xsd"))
EVIL = "<script>alert('1')</script> ]]> \x1b[31m\x00 & \" \x1b]0;x\x07 {{ 7*7 }}"


def report(database: Database, plan: Record, output: int = 2**24, most: int = 2**16) -> Report:
    row = database.read(testplans.get, plan.uuid)
    assert row is not None
    return plan_reports.read(database, row, output=output, most=most)


def junit(report: Report) -> Any:
    text = b"".join(report_xml.junit(report))
    SCHEMA.validate(text.decode())
    return ElementTree.fromstring(text)


def text(report: Report) -> str:
    return "".join(report_text.text(report))


def html(report: Report) -> str:
    return "".join(report_html.html(report))


@pytest.fixture(scope="module")
def plan(database: Database) -> Record:
    return plans.add(
        database,
        {
            "1": [
                step(
                    "Parallel-Step-1",
                    entry("PASS", "fine\n", description="STA1 reaches STA2"),
                    entry("FAIL", "no\n", host="lab-2", detail="2 of 3 lost", exit_code=1),
                    entry("ERROR", reason="agent_lost"),
                    entry("TIMEOUT", "so far", reason="timeout", output_size=100),
                    entry("CANCELLED", reason="cancelled"),
                    description="both stations are there",
                )
            ],
            "2": [
                step(
                    "Serial-Step-1",
                    entry("PASS", tries=3),
                    entry("PASS", tries=2, rules=Rules(retry=Retry(on=("FAIL",)))),
                    entry(None, state=SKIPPED, tries=0, detail="1/Parallel-Step-1 broke"),
                ),
                step("Serial-Step-2", entry(None, state="running"), waiting(host=None)),
            ],
        },
        result="FAIL",
    )


@pytest.fixture
def root(database: Database, plan: Record) -> Any:
    return junit(report(database, plan))


def test_junit_has_a_suite_for_each_step(root: Any) -> None:
    assert root.attrib == {
        "name": "two stations",
        "tests": "10",
        "failures": "1",
        "errors": "3",
        "time": "8.500",
    }
    suites = [(suite.get("name"), suite.get("tests"), suite.get("skipped")) for suite in root]
    assert suites == [
        ("1/Parallel-Step-1", "5", "0"),
        ("2/Serial-Step-1", "3", "1"),
        ("2/Serial-Step-2", "2", "2"),
    ]
    assert root[0].get("timestamp") == "2026-11-21T08:00:01"
    values = {p.get("name"): p.get("value") for p in root[0].find("properties")}
    assert values["description"] == "both stations are there"


def test_only_fail_is_a_failure(root: Any) -> None:
    kinds = [
        [child.tag for child in case if child.tag != "system-out"] for case in root.iter("testcase")
    ]
    assert kinds == [
        [],
        ["failure"],
        ["error"],
        ["error"],
        ["error"],
        ["flakyError", "flakyError"],
        ["flakyFailure"],
        ["skipped"],
        ["skipped"],
        ["skipped"],
    ]
    failure = root.find(".//failure")
    assert (failure.get("type"), failure.get("message")) == ("FAIL", "2 of 3 lost")
    assert "host: lab-2" in failure.text
    assert root.find(".//error").get("type") == "agent_lost"
    messages = [skipped.get("message") for skipped in root.iter("skipped")]
    assert messages == ["1/Parallel-Step-1 broke", "running", "queued"]


def test_a_case_of_junit(root: Any) -> None:
    first, *_ = root.iter("testcase")
    assert first.attrib == {
        "name": "1: STA1 reaches STA2",
        "classname": "two stations.1.Parallel-Step-1",
        "time": "2.500",
    }
    assert first.findtext("system-out") == "fine\n"
    assert [out.text for out in root.iter("system-out")] == ["fine\n", "no\n", "so far\n[…]"]


def test_text_fits_a_terminal(database: Database, plan: Record) -> None:
    shown = text(report(database, plan))
    assert max(map(width, shown.splitlines())) <= report_text.COLUMNS
    assert shown.splitlines()[0].endswith(" FAIL")
    for words in (
        "1/Parallel-Step-1: both stations are there",
        "STA1 reaches STA2",
        "| no",
        "agent_lost",
        "flaky",
        "2 flaky",
        "1/Parallel-Step-1 broke",
    ):
        assert words in shown
    assert "fine" not in shown


def test_the_log_has_what_all_wrote(database: Database, plan: Record) -> None:
    lines = "".join(report_text.log(report(database, plan))).splitlines()
    assert lines[:4] == [
        "== 1/Parallel-Step-1/1: STA1 reaches STA2 on lab-1: PASS",
        "fine",
        "== 1/Parallel-Step-1/2: linux_system.run_shell on lab-2: FAIL (2 of 3 lost)",
        "no",
    ]


class Page(HTMLParser):
    """Collects the tags of a page, their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else(database: Database, plan: Record) -> None:
    text = html(report(database, plan))
    page = Page(text)
    assert not page.tags & {"script", "link", "img", "iframe", "style", "object", "form"}
    assert not page.attributes & {"src", "href", "srcset", "action", "background"}
    assert "url(" not in text
    for words in ("two stations: FAIL", "1/Parallel-Step-1", "passed at try 3", "2 of 3 lost"):
        assert words in " ".join(page.text.split())


@pytest.fixture(scope="module")
def evil(database: Database) -> Record:
    """A plan whose author, and whose hosts, mean harm."""
    outputs = [EVIL, b"\xff\xfe\xed\xa0\x80 not UTF-8", EVIL * 100]
    entries = [
        entry("FAIL", output, name=f"{n}[{EVIL}]", description=EVIL, detail=EVIL, reason=EVIL)
        for n, output in enumerate(outputs, 1)
    ]
    return plans.add(
        database,
        {EVIL: [step(EVIL, *entries, description=EVIL)]},
        name=EVIL,
        result="FAIL",
        detail=EVIL,
    )


def test_nothing_gets_out_of_xml(database: Database, evil: Record) -> None:
    root = junit(report(database, evil))
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "properties", "property"),
        *("testcase", "failure", "system-out"),
    }
    harmless = "<script>alert('1')</script> ]]> \ufffd & \"  {{ 7*7 }}"
    assert next(root.iter("system-out")).text == harmless
    assert root.get("name") == " ".join(harmless.split())


def test_nothing_gets_out_of_the_page(database: Database, evil: Record) -> None:
    text = html(report(database, evil))
    page = Page(text)
    assert "script" not in page.tags
    assert "<script>alert('1')</script> ]]>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert not any(character in text for character in "\x00\x1b\x07")


def test_nothing_speaks_to_the_terminal(database: Database, evil: Record) -> None:
    for write in (report_text.text, report_text.log):
        shown = "".join(write(report(database, evil)))
        assert all(line.isprintable() for line in shown.split("\n"))
    lines = text(report(database, evil)).splitlines()
    assert max(map(width, lines)) <= report_text.COLUMNS


def test_wide_characters_fit_too(database: Database) -> None:
    wide = "\u7121\u7dda\u6e2c\u8a66" * 30
    entries = [entry("FAIL", wide, description=wide, detail=wide)]
    plan = plans.add(database, {"1": [step("Serial-Step-1", *entries)]}, name=wide)
    assert max(map(width, text(report(database, plan)).splitlines())) <= report_text.COLUMNS


def test_outputs_have_their_share(database: Database) -> None:
    many = [entry("FAIL", "x" * 1000) for _ in range(10)]
    plan = plans.add(database, {"1": [step("Serial-Step-1", *many)]})
    outputs = [out.text for out in junit(report(database, plan, output=5000)).iter("system-out")]
    assert outputs == ["x" * 500 + "\n[…]"] * 10
    outputs = [out.text for out in junit(report(database, plan, most=20)).iter("system-out")]
    assert outputs == ["x" * 20 + "\n[…]"] * 10
    assert not list(junit(report(database, plan, output=0)).iter("system-out"))


def test_a_plan_without_entries_that_ran(database: Database) -> None:
    plan = plans.add(database, {"1": [step("Serial-Step-1", waiting())]}, state="queued")
    root = junit(report(database, plan))
    assert (root.get("tests"), root.get("time")) == ("1", "0.000")
    assert "queued" in text(report(database, plan))
    assert "queued" in html(report(database, plan))


def test_pages_of_entries_are_read_to_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_reports, "BATCH", 3)
    steps = [step(f"Serial-Step-{n}", *[entry() for _ in range(4)]) for n in range(2)]
    plan = plans.add(database, {"1": steps})
    assert [len(suite.findall("testcase")) for suite in junit(report(database, plan))] == [4, 4]


def test_a_short_report_has_what_did_not_pass(database: Database, plan: Record) -> None:
    short = shortened(report(database, plan), 3)
    names = [item.name for section in short.sections for item in section.entries]
    assert names == ["2", "3", "4"]
    assert "first 3" in text(short)
    assert "first 3" in html(short)
    assert text(short) == text(short)
    whole = shortened(report(database, plan), 10)
    assert not whole.note
    assert text(whole) == text(report(database, plan))


def large(count: int) -> Report:
    """A report of many entries, none of which is kept."""
    counts = {**dict.fromkeys(KINDS, 0), "FAIL": count}
    item = Item(
        *("1", "one", "linux_system.ping", "lab-1", "finished", "FAIL", None, "no", 1, 1, False),
        *((), "case", 1.0, "x" * 1600, True),
    )

    def items() -> Iterator[Item]:
        for _ in range(count):
            yield item

    summary = Summary(
        **dict.fromkeys(Summary.__struct_fields__) | {"id": "i", "name": "n", "state": "finished"}
    )
    section = Section("1/Parallel-Step-1", "", Tally(counts), items())
    return Report(summary, Tally(counts), [section])


@pytest.mark.parametrize(
    "write", [report_xml.junit, report_html.html, report_text.text, report_text.log]
)
def test_many_entries_take_no_memory(write: Callable[[Report], Iterator[Any]]) -> None:
    for _ in write(large(2)):
        pass
    tracemalloc.start()
    try:
        size = sum(map(len, write(large(3_000))))
        assert size > 200_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
