"""Who runs a program, as the database remembers it."""

from __future__ import annotations

import os
import pwd
import socket

import pytest

from labapi.cmd.caller import caller


@pytest.fixture(autouse=True)
def no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)


def called(name: str) -> str:
    return f"{name}@{socket.gethostname()}"


def test_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1)
    monkeypatch.setenv("LOGNAME", "somebody else")
    assert caller() == called(pwd.getpwuid(1).pw_name)


def test_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert caller() == called("root")
    monkeypatch.setenv("SUDO_USER", "alice")
    assert caller() == called("alice")


def test_nobody_is_called_another_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1)
    monkeypatch.setenv("SUDO_USER", "alice")
    assert caller() == called(pwd.getpwuid(1).pw_name)


def test_a_user_without_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert caller() == called("54321")
