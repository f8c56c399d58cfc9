"""Commands, typed in this process at a lab that is served on a socket."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labapi_client.cli.shell import Shell
from tests.client.conftest import Served


@dataclass(frozen=True)
class Typed:
    """What came of a command."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.status == 0, self
        return json.loads(self.out)


Type = Callable[..., Typed]


def typed(*argv: str) -> Typed:
    """Run ``lab`` with these words."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = Shell(stdout=out, stderr=err).run(list(argv))
        except SystemExit as end:
            status = int(end.code or 0)
    return Typed(status, out.getvalue(), err.getvalue())


@pytest.fixture
def type_(served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """Return a function that types a command at the lab."""
    monkeypatch.setenv("LABAPI_URL", f"http://127.0.0.1:{served.port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return typed
