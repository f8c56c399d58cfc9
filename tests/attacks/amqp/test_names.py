"""A machine says what its address is; that makes it no other host."""

from __future__ import annotations

import pytest

from labapi.db import testcases
from labapi.db.session import Database
from tests.backends import database  # noqa: F401
from tests.hosts import announce


@pytest.mark.parametrize("name", ["lab-9", "lab-9.example", "10.0.0.9.example", "*", "%", ""])
def test_no_address_stands_for_a_host_that_is_not_here_yet(
    database: Database,  # noqa: F811
    name: str,
) -> None:
    announce(database, "hostile", address=name)
    assert database.read(testcases.target, name) == []


@pytest.mark.parametrize("other", ["lab-8 ", " lab-8", "LAB-8", "lab-8\x00", "lab-8\u200b"])
def test_a_host_has_one_name(
    database: Database,  # noqa: F811
    other: str,
) -> None:
    announce(database, "lab-8", agent="b")
    assert [row.host for row in database.read(testcases.target, "lab-8")] == ["lab-8"]
    assert database.read(testcases.target, other) == []
