"""A report as one page that needs nothing else, for browsers and mails."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jinja2

from labapi.plans.report import Report

CONTENT_TYPE = "text/html"
GATHERED = 100  # pieces of the template that are handed on together

# Readable on light and on dark; a mail has no style but that of its elements.
COLOURS = {
    "PASS": "#1a8f3c",
    "flaky": "#b07800",
    "FAIL": "#e0303a",
    "ERROR": "#c05a00",
    "TIMEOUT": "#c05a00",
    "CANCELLED": "#808080",
}


def html(report: Report) -> Iterator[str]:
    """Write a report, piece by piece."""
    stream = _template().stream(report=report, colours=COLOURS)
    stream.enable_buffering(GATHERED)
    yield from stream


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.PackageLoader("labapi.plans", ""),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")
