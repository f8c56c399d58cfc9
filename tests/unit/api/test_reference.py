"""docs/api.md has every URL, and every field of a case."""

from __future__ import annotations

import re

import msgspec

from labapi.api.routes import ROUTES
from labapi.api.views.testcases import WholeCase
from tests.lab import ROOT

PAGE = " ".join((ROOT / "docs" / "api.md").read_text().split())


def test_the_reference_lists_every_url() -> None:
    for route in ROUTES:
        path = "/v2.1" + re.sub(r"{\w+_id}", "{id}", route.path).rstrip("/")
        short = "…" + path.partition("{id}")[2]
        for method in route.actions:
            assert f"`{method} {path}`" in PAGE or f"`{method} {short}`" in PAGE


def test_it_describes_every_field_of_a_case() -> None:
    table = PAGE.partition("| field of a case |")[2].partition("| reason | |")[0]
    described = set(re.findall(r"`(\w+)`", table))
    assert {field.encode_name for field in msgspec.structs.fields(WholeCase)} <= described
