"""A machine says what its address is; that makes it no other host."""

from __future__ import annotations

import datetime

import pytest

from labapi.conductor.heartbeats import said
from labapi.db import hosts, testcases
from labapi.db.session import Database
from labapi.rpc.messages import Announce
from tests.backends import database  # noqa: F401


@pytest.mark.parametrize("name", ["lab-9", "lab-9.example", "10.0.0.9.example", "*", "%", ""])
def test_no_address_stands_for_a_host_that_is_not_here_yet(
    database: Database,  # noqa: F811
    name: str,
) -> None:
    announced = Announce(host="hostile", agent="a", address=name, release="1", plugins={})
    now = datetime.datetime.now(datetime.UTC)
    database.write(hosts.announce, {"hostile": said(announced)}, now)
    assert database.read(testcases.target, name) == []
