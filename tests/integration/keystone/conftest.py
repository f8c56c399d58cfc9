"""One Keystone, and one lab that asks it, for the whole suite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.keystone.client import Client
from tests.integration.keystone.server import Keystone
from tests.lab import ROOT, until
from tests.programs import Program, free_port

# Users, their project and their role there. Passwords are <name>pw.
USERS = {
    "alice": ("alpha", "member"),
    "bob": ("beta", "member"),
    "rita": ("alpha", "reader"),
    "labapi": ("service", "service"),
}
CACHE_SECONDS = 2


@pytest.fixture(scope="session")
def keystone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    server = Keystone(tmp_path_factory.mktemp("keystone"))
    server.bootstrap()
    try:
        server.start()
        for user, (project, role) in USERS.items():
            server.grant(user, project, role)
        yield server
    finally:
        server.stop()


def paste(keystone: Keystone) -> str:
    """Return the shipped file with ``keystone`` in the pipeline, and this Keystone in it."""
    text = (ROOT / "etc" / "api-paste.ini").read_text()
    text, words = re.subn(r"^    noauth$", "    keystone", text, flags=re.MULTILINE)
    assert words == 1
    text = text.replace("http://127.0.0.1:5000/v3", keystone.url)
    text = text.replace("\npassword = secret\n", "\npassword = labapipw\n")
    text, caches = re.subn("token_cache_time = .*", f"token_cache_time = {CACHE_SECONDS}", text)
    assert caches == 1
    return text


@pytest.fixture(scope="session")
def program(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "api-paste.ini").write_text(paste(keystone))
    port = free_port()
    config = folder / "labapi.conf"
    config.write_text(f"[DEFAULT]\nstate_path = {folder}/state\n[api]\nport = {port}\n")
    running = Program("labapi-all", "--config-file", str(config), log=folder / "log")
    running.says("listens on")
    running.port = port  # type: ignore[attr-defined]
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.output()


@pytest.fixture(scope="session")
def lab(program: Program, keystone: Keystone) -> Client:
    """Return a client that knows the tokens of all users."""
    tokens = {
        user: keystone.token(user, f"{user}pw", project) for user, (project, _) in USERS.items()
    }
    tokens["admin"] = keystone.token("admin", "adminpw", "admin")
    client = Client(program.port, tokens)  # type: ignore[attr-defined]
    until(lambda: client.send("GET", "/slaves", "alice").json(), what="the agent's announcement")
    return client


@pytest.fixture
def sample(tmp_path: Path, keystone: Keystone) -> str:
    return paste(keystone)
