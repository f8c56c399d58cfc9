"""``/testplans/{id}/report.xml`` and its like: a whole test plan for people, and for CI systems."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import webob
from oslo_config import cfg

from labapi.api import lookup
from labapi.api.access import Policy
from labapi.api.controllers import Controller
from labapi.api.plan_tree import visible
from labapi.api.request import PIECE, Request
from labapi.db import plan_reports
from labapi.db.session import Database
from labapi.plans import report_html, report_text, report_xml
from labapi.plans.report import Report

# A page from here runs nothing and fetches nothing, whatever stands in it.
_SAFE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class Reports(Controller):
    """The controller of reports."""

    def __init__(self, conf: cfg.ConfigOpts, database: Database, policy: Policy) -> None:
        self._conf = conf
        self._database = database
        self._policy = policy

    def xml(self, request: Request, testplan_id: str) -> webob.Response:
        """Answer with JUnit XML."""
        report = self._report(request, testplan_id)
        return _answer(report_xml.junit(report), report_xml.CONTENT_TYPE)

    def html(self, request: Request, testplan_id: str) -> webob.Response:
        """Answer with a page."""
        pieces = report_html.html(self._report(request, testplan_id))
        return _answer(_encoded(pieces), report_html.CONTENT_TYPE)

    def text(self, request: Request, testplan_id: str) -> webob.Response:
        """Answer with text for a terminal."""
        pieces = report_text.text(self._report(request, testplan_id))
        return _answer(_encoded(pieces), report_text.CONTENT_TYPE)

    def _report(self, request: Request, testplan_id: str) -> Report:
        request.query()
        plan = lookup.visible_testplan(self._database, self._policy, request, testplan_id)
        return plan_reports.read(
            self._database,
            plan,
            output=self._conf.api.report_output,
            most=self._conf.api.inline_output,
            visible=functools.partial(visible, self._database, request.environ),
        )


def _encoded(texts: Iterator[str]) -> Iterator[bytes]:
    gathered = bytearray()
    for text in texts:
        gathered += text.encode()
        if len(gathered) >= PIECE:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _answer(pieces: Iterator[bytes], content_type: str) -> webob.Response:
    """Answer with a text whose first piece is made at once, so that an error is still an error.

    A later one breaks the connection: a report is whole, or it is none.
    """
    first = next(pieces, b"")
    response = webob.Response(
        app_iter=itertools.chain([first], pieces), content_type=content_type, charset="utf-8"
    )
    response.headers.update(_SAFE)
    return response
