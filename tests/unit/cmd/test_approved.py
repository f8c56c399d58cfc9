"""New files are tried in a process of their own."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labapi.api.backend.backend import Backend
from labapi.cmd import approved
from labapi.cmd.approved import Approved
from tests.lab import ROOT, Lab

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()
HANGS = SHIPPED + "\n[filter:slow]\npaste.filter_factory = tests.unit.cmd.test_approved:hang\n"


def hang(global_conf: dict[str, str]) -> None:
    """Be a factory that does not return."""
    time.sleep(3600)


@pytest.fixture
def paste(tmp_path: Path) -> Path:
    file = tmp_path / "api-paste.ini"
    file.write_text(SHIPPED)
    return file


@pytest.fixture
def pipelines(tmp_path: Path, paste: Path) -> Iterator[Approved]:
    lab = Lab(tmp_path, api__paste_config=str(paste))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    yield Approved(Backend.of(lab.conf, lab.transport, lab.database), lambda: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    lab.database.close()


def test_what_works_is_kept(pipelines: Approved, paste: Path) -> None:
    assert pipelines.texts == {str(paste): SHIPPED}
    other = SHIPPED.replace("6000 per minute", "7000 per minute")
    paste.write_text(other)
    assert pipelines.renew()
    assert pipelines.texts == {str(paste): other}


def test_a_factory_that_never_returns(
    pipelines: Approved,
    paste: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(approved, "TRIAL", 0.5)
    paste.write_text(HANGS.replace("\n    context\n", "\n    context\n    slow\n"))
    assert not pipelines.renew()
    assert "the pipeline could not be built within 0.5 s" in caplog.text
    assert pipelines.texts == {str(paste): SHIPPED}
