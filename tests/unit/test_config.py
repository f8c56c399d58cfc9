from __future__ import annotations

import re
from pathlib import Path

import pytest

from labapi import config
from labapi.exceptions import ConfigError
from tests.lab import ROOT


def test_a_file_with_the_names_of_before_is_read(tmp_path: Path) -> None:
    old = tmp_path / "labapi.conf"
    old.write_text(
        "[conductor]\n"
        "default_timeout = 11\n"
        "max_timeout = 12\n"
        "dispatch_ahead = 13\n"
        "offer_interval = 14\n"
    )
    conf = config.load(["--config-file", str(old)], prog="labapi", description="")
    assert (conf.api.default_timeout, conf.api.max_timeout) == (11.0, 12.0)
    assert conf.scheduler.dispatch_ahead == 13
    assert conf.conductor.resend_interval == 14.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[api]\nmax_plan_entries = 0", "[api] max_plan_entries: Should be greater than or equal"),
        ("[api]\nmax_plan_size = x", "[api] max_plan_size: invalid literal for int()"),
        ("[conductor]\nplan_interval = nan", "[conductor] plan_interval: nan is no number of at"),
        ("[conductor]\nplan_window = 9999999999999999", "[conductor] plan_window: 1e+16 is no"),
        ("[scheduler]\nmax_lease = 1e30", "[scheduler] max_lease: 1e+30 is no number of at most"),
        ("[notify]\nforbidden = x", "[notify] forbidden: Valid values are [loopback, link_local"),
        ("[agent]\nslots = many", "[agent] slots: invalid literal for int()"),
    ],
)
def test_every_value_is_looked_at_before_a_program_begins(
    tmp_path: Path, text: str, said: str
) -> None:
    """Whoever edits the file hears of a mistake at once, and not the callers of the API."""
    file = tmp_path / "labapi.conf"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(["--config-file", str(file)], prog="labapi", description="")
    assert str(caught.value).startswith(said)


def test_names_that_are_no_options_are_told(tmp_path: Path) -> None:
    file = tmp_path / "labapi.conf"
    file.write_text(
        "[DEFAULT]\ndebug = true\nstate-path = /x\ndebgu = true\n"
        "[api]\nport = 1\nprot = 2\nmax-timeout = 5\n"
        "[conductor]\noffer_interval = 14\nmax_timeout = 12\n"
        "[keystone_authtoken]\nanything = 1\n"
    )
    conf = config.load(["--config-file", str(file)], prog="labapi", description="")
    assert sorted(config.unknown(conf)) == [
        f"{file}: [DEFAULT] debgu is no option of labapi; did you mean 'debug'?",
        f"{file}: [api] prot is no option of labapi; did you mean 'port'?",
    ]


def test_the_sample_names_only_options(tmp_path: Path) -> None:
    file = tmp_path / "labapi.conf"
    sample = (ROOT / "etc" / "labapi.conf.sample").read_text()
    text, count = re.subn(r"^#([a-z_]+ = .*)", r"\1", sample, flags=re.MULTILINE)
    file.write_text(text)
    conf = config.new()
    conf(["--config-file", str(file)], project="labapi")
    found = [one for one in config.unknown(conf) if "fatal_deprecations" not in one]
    assert (count > 100, found) == (True, [])  # but for one that oslo.log itself does not read
