"""No edit of the file goes wrong in silence: mutants of it, checked and started."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from labapi.api import load
from labapi.exceptions import ConfigError
from labapi.pipeline.check import check
from tests.lab import Lab
from tests.unit.pipeline.shipped import SHIPPED, edited

# With all that a pipeline may have in it, so that each section is more than a text.
FULL = edited(
    ("\n    noauth\n", "\n    keystone\n"),
    ("\n    faultwrap\n", "\n    metrics\n    faultwrap\n"),
    ("\n    proxy\n", "\n    proxy\n    audit\n    cors\n"),
    ("/ = root\n", "/ = root\n/metrics = metrics_page\n"),
)
WORDS = re.compile(r"[\w.-]+|[^\w\s]|\s+")
ODD = [
    "%",
    "%(here)s",
    "#",
    ";",
    "=",
    ":",
    " ",
    "\t",
    "\n",
    "[",
    "]",
    "'",
    '"',
    "\0",
    "\x1b[2J",
    "é",
]
# Lines that Paste gives a meaning of their own.
MORE = [
    "[DEFAULT]",
    "set max_request_body_size = 5",
    "set use = egg:labapi#api",
    "get trusted_proxies = here",
    "get trusted_proxies = nothing",
    "filter-with = request_id",
    "filter-with = sizelimit",
    "next = root",
    "require = labapi",
    "require = no-such-thing",
    "use = sizelimit",
    "use = root",
    "use = config:mutant.ini#root",
    "use = config:mutant.ini",
    "use = config:none.ini",
    "use = call:os:getcwd",
    "use = call:labapi_middleware.sizelimit:filter_factory",
    "paste.filter_factory = labapi_middleware.sizelimit:filter_factory",
    "paste.app_factory = labapi.api.versions:app_factory",
    "pipeline = faultwrap versions",
    "[filter-app:v2.1]",
    "[composite:root]",
    "here = /",
    "listen = 0.0.0.0:80",
]
EXAMPLES = 250


def misspelt(draw: st.DrawFn, text: str) -> str:
    """Leave out, double, swap or replace a character."""
    if not text:
        return draw(st.sampled_from(ODD))
    at = draw(st.integers(0, len(text) - 1))
    change: Callable[[str], str] = draw(
        st.sampled_from(
            [
                lambda t: t[:at] + t[at + 1 :],
                lambda t: t[:at] + t[at] + t[at:],
                lambda t: t[:at] + t[at + 1 : at + 2] + t[at] + t[at + 2 :],
                lambda t: t[:at] + t[at].swapcase() + t[at + 1 :],
                lambda t: t[:at] + draw(st.sampled_from(ODD)) + t[at:],
            ]
        )
    )
    return change(text)


def changed(draw: st.DrawFn, pieces: list[str]) -> list[str]:
    """Leave out, double, swap or misspell one of the pieces."""
    at = draw(st.integers(0, len(pieces) - 1))
    other = draw(st.integers(0, len(pieces) - 1))
    how = draw(st.sampled_from(["delete", "double", "swap", "misspell"]))
    if how == "delete":
        return pieces[:at] + pieces[at + 1 :]
    if how == "double":
        return pieces[: at + 1] + pieces[at:]
    result = list(pieces)
    if how == "swap":
        result[at], result[other] = result[other], result[at]
    else:
        result[at] = misspelt(draw, pieces[at])
    return result


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """Return the shipped file with one to three edits."""
    lines = [line for line in draw(st.sampled_from([SHIPPED, FULL])).split("\n") if line[:1] != "#"]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["line", "word", "more"]))
        if what == "line":
            lines = changed(draw, lines)
        elif what == "more":
            lines[at:at] = [draw(st.sampled_from(MORE))]
        else:
            words = WORDS.findall(lines[at]) or [""]
            lines[at : at + 1] = "".join(changed(draw, words)).split("\n")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("lab")).start(agent=False)
    yield lab
    lab.stop()


def started(lab: Lab, path: Path) -> str | None:
    """Build the pipeline as the API does; return why it refuses, None if it does not."""
    try:
        load.load(lab.conf, lab.backend, path)
    except ConfigError as error:
        return str(error)
    return None


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(text=mutants())
def test_any_edit(lab: Lab, text: str) -> None:
    path = lab.folder / "mutant.ini"
    path.write_text(text)
    report = load.examine(lab.conf, path)
    refused = started(lab, path)
    event("refused" if refused else "starts")
    # Start and check agree, to the letter.
    assert refused == ("\n".join(map(str, report.errors)) or None)
    for finding in report.findings:
        assert str(finding).isprintable()
        assert re.search(r"line [0-9]+|\[[^\]]+\]", str(finding)), str(finding)
        assert "Traceback" not in str(finding)
    if report.assembly is not None:  # "pipeline show" has something to say
        for line in check.lines(report.assembly):
            assert line.part.name
