"""A controller is a class and a row in the table."""

from __future__ import annotations

import pytest
import webob

from labapi.api import policy
from labapi.api.access import READER, rule
from labapi.api.controllers import Controller
from labapi.api.request import Request, json_response
from labapi.api.router import Route, Router
from labapi.api.routes import ROUTES


class Racks(Controller):
    """A controller that only this test has."""

    RULES = (rule("racks:show", READER, "See racks.", "GET /v2.1/racks"),)

    def __init__(self, database: str) -> None:
        self.database = database

    def index(self, request: Request) -> webob.Response:
        """List racks."""
        return json_response({"racks": [self.database]})

    def show(self, request: Request, rack: str) -> webob.Response:
        """Show one rack."""
        return json_response({"rack": rack})


ROW = Route("/racks", Racks, {"GET": "index"})
ROWS = (ROW, Route("/racks/{rack}/doors", Racks, {"GET": "show"}))


def test_a_controller_is_built_from_what_it_names() -> None:
    app = Router([ROW], {"database": "r7", "conf": "what nobody names"})
    assert webob.Request.blank("/racks").get_response(app).json == {"racks": ["r7"]}


def test_a_controller_that_names_what_there_is_not() -> None:
    with pytest.raises(TypeError, match="Racks wants 'database'; known: conf, table"):
        Router([ROW], {"conf": ""})


@pytest.mark.parametrize("path", ["/racks%0A", "/racks/r7/doors%0A", "/racks/r7/doors%0D"])
def test_a_path_with_a_line_break_is_another_path(path: str) -> None:
    app = Router(ROWS, {"database": "r7"})
    assert webob.Request.blank(path).get_response(app).status_code == 404


def test_what_was_done_is_in_the_environ() -> None:
    request = webob.Request.blank("/racks/r7/doors")
    request.get_response(Router(ROWS, {"database": ""}))
    assert request.environ["labapi.audit"] == {"action": "racks:show", "target": "r7"}


def test_its_rules_are_in_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "ROUTES", (*ROUTES, ROW))
    names = [each.name for each in policy.list_rules()]
    assert names[-1] == "racks:show"
    assert len(set(names)) == len(names)
