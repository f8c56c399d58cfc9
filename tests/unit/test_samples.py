"""The sample files in etc/ are what the code says; ``make samples`` writes them anew."""

from __future__ import annotations

import subprocess
from pathlib import Path

from labapi import config
from tests.lab import ROOT
from tests.programs import BIN


def generated(tmp_path: Path, program: str, *args: str) -> str:
    output = tmp_path / "sample"
    subprocess.run(
        [BIN / program, *args, "--output-file", output],
        check=True,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
    )
    return output.read_text()


def test_labapi_conf(tmp_path: Path) -> None:
    text = generated(
        tmp_path, "oslo-config-generator", "--config-file", "etc/config-generator.conf"
    )
    assert text == (ROOT / "etc" / "labapi.conf.sample").read_text()


def test_policy_yaml(tmp_path: Path) -> None:
    text = generated(tmp_path, "oslopolicy-sample-generator", "--namespace", "labapi")
    assert text == (ROOT / "etc" / "policy.yaml.sample").read_text()


def test_every_option_says_what_it_is_for() -> None:
    for group, options in config.list_opts():
        for option in options:
            assert option.help, f"[{group}] {option.name}"
