"""A path that a rule does not match, but the application does."""

from __future__ import annotations

from tests.attacks.filters.conftest import SHIPPED, Serve

RULE = "rule_all = * *: 6000 per minute per address\n"


def test_a_line_break_is_no_way_around_a_rule(serve: Serve) -> None:
    assert RULE in SHIPPED
    strict = "rule_metadata = * /v2.1/slaves/*/metadata: 1 per hour per address\n"
    api = serve(SHIPPED.replace(RULE, strict))
    path = "/v2.1/slaves/1/metadata"
    assert api.ask(path).status in (200, 404)
    assert api.ask(path).status == 429
    for spelling in (
        f"{path}/",
        f"{path}//",
        path.replace("s/1", "s//1"),
        path.replace("m", "%6d"),
    ):
        assert api.ask(spelling).status == 429, spelling
    for character in ("%0a", "%0d", "%0d%0a", "%00", "%09", "%7f"):
        answer = api.ask(f"{path}{character}")
        assert answer.status == 400, character
        assert b"control character" in answer.body


def test_nothing_else_answers_such_a_path(serve: Serve) -> None:
    api = serve(SHIPPED)
    for path in ("/%0a", "/v2.1%0a", "/healthcheck%0a"):
        assert api.ask(path).status in (400, 404), path
