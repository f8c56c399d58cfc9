"""Tests that need nothing of the server: they also run where it is not installed."""

from __future__ import annotations

import os

import pytest

ENVIRONMENT = ("LABAPI_", "OS_")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing of this machine's environment say where a lab is."""
    for name in os.environ:
        if name.startswith(ENVIRONMENT) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
