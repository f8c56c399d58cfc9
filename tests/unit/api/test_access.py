"""Decisions of the policy."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from labapi import config
from labapi.api import policy
from labapi.context import RequestContext
from labapi.exceptions import Forbidden


def test_a_denial_says_its_reason_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    conf = config.new(state_path=str(tmp_path))
    conf([], project="labapi", default_config_files=[])
    rules = policy.load(conf)
    reader = RequestContext("req-1", "alice", "lab", ("reader",))
    rules.check(reader, "slaves:show")
    with caplog.at_level(logging.INFO), pytest.raises(Forbidden, match="with your roles"):
        rules.check(reader, "services:show")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "denied: the policy's rule for services:show is 'rule:admin'; "
        "user alice of project lab has the roles reader"
    )
