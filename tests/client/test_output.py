"""Output over connections that break: no byte is lost, and none comes twice."""

from __future__ import annotations

import random
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import labapi_client
from labapi_client import exceptions, following
from labapi_client.lab import Lab
from tests.client.conftest import Served
from tests.client.test_managers import SHELL, script
from tests.lab import Gate
from tests.proxy import Proxy

KILOBYTES = 3000  # bytes after which a connection breaks


@pytest.fixture
def proxy(served: Served) -> Iterator[Proxy]:
    proxy = Proxy(served.port)
    yield proxy
    proxy.close()


@pytest.fixture
def far(proxy: Proxy) -> Iterator[Lab]:
    """Return a lab behind connections that break every few kilobytes."""
    with labapi_client.connect(f"http://127.0.0.1:{proxy.port}") as lab:
        yield lab


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with text in several languages, and with bytes that are no text."""
    chance = random.Random(14)
    text = "".join(chance.choice('aé€😀\n"\\\x00\x1b') for _ in range(12_000)).encode()
    file = tmp_path_factory.mktemp("written") / "output"
    file.write_bytes(text + chance.randbytes(20_000) + text)
    return file


def test_all_that_is_there(far: Lab, proxy: Proxy, written: Path) -> None:
    case = far.testcases.run(*SHELL, script(f"cat {shlex.quote(str(written))}")).wait()
    assert case.output_size == len(written.read_bytes())
    proxy.cut_after(KILOBYTES)
    assert b"".join(far.testcases.output(case.id)) == written.read_bytes()
    assert proxy.broken > 20
    half = case.output_size // 2
    assert b"".join(far.testcases.output(case.id, offset=half)) == written.read_bytes()[half:]


def test_all_as_it_comes(far: Lab, proxy: Proxy, written: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    file = shlex.quote(str(written))
    proxy.cut_after(KILOBYTES)
    halves = f"head -c 30001 {file}; {gate.wait}; tail -c +30002 {file}"
    run = far.testcases.run(*SHELL, script(halves))
    got = b""
    for piece in run:
        got += piece
        if len(got) == 30_001:
            gate.open()
    assert got == written.read_bytes()
    assert proxy.broken > 20
    assert (run.case.result, run.case.output_size) == ("PASS", len(got))


def test_a_connection_that_breaks_while_nothing_comes(
    far: Lab, proxy: Proxy, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    run = far.testcases.run(*SHELL, script(f"echo one; {gate.wait}; echo two"))
    pieces = iter(run)
    assert next(pieces) == b"one\n"
    proxy.cut()
    gate.open()
    assert b"".join(pieces) == b"two\n"


def test_a_lab_that_is_away_for_too_long(
    far: Lab, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE", 0.5)
    gate = Gate(tmp_path / "gate")
    run = far.testcases.run(*SHELL, script(f"echo one; {gate.wait}"))
    pieces = iter(run)
    assert next(pieces) == b"one\n"
    proxy.close()
    with pytest.raises(exceptions.ConnectionFailed, match="no connection to"):
        next(pieces)
    gate.open()


def test_there_is_no_such_case(lab: Lab) -> None:
    with pytest.raises(exceptions.NotFound):
        list(lab.testcases.output("no-such-case"))
    with pytest.raises(exceptions.NotFound):
        lab.testcases.wait("no-such-case")
