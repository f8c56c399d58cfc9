from __future__ import annotations

from pathlib import Path

from labapi import config


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
