"""A lab behind TLS: who is believed to be it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

import labapi_client
from labapi_client import exceptions
from tests.client.alone.scripted import Say, Scripted

EMPTY = Say(200, {"limits": {"rate": []}})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def cacert(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture(params=["127.0.0.1"])
def server(authority: trustme.CA, request: pytest.FixtureRequest) -> Iterator[Scripted]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(request.param).configure_cert(context)
    with Scripted(EMPTY, tls=context) as running:
        yield running


def test_an_authority_that_is_trusted(
    server: Scripted, cacert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(labapi_client.connect(server.url, cacert=cacert).limits.list()) == []
    monkeypatch.setenv("LABAPI_CACERT", cacert)
    assert list(labapi_client.connect(server.url).limits.list()) == []


def test_an_authority_that_nobody_knows(server: Scripted) -> None:
    lab = labapi_client.connect(server.url, username="u", password="p")
    with pytest.raises(exceptions.ConnectionFailed, match="certificate verify failed"):
        list(lab.limits.list())
    assert not server.asked


@pytest.mark.parametrize("server", ["lab.example"], indirect=True)
def test_the_certificate_of_another(server: Scripted, cacert: str) -> None:
    with pytest.raises(exceptions.ConnectionFailed, match="IP address mismatch"):
        list(labapi_client.connect(server.url, cacert=cacert).limits.list())
    assert not server.asked


def test_there_is_no_such_file(server: Scripted) -> None:
    with pytest.raises(exceptions.BadConfiguration, match="there is no file /no/such/file with"):
        list(labapi_client.connect(server.url, cacert="/no/such/file").limits.list())


def test_an_answer_that_drips_has_an_end(authority: trustme.CA, cacert: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Scripted(Say(body=b" " * 1000, drips=0.05), tls=context) as server:
        lab = labapi_client.connect(server.url, cacert=cacert, answer_timeout=1.0)
        begun = time.monotonic()  # the whole answer takes 50 seconds
        with pytest.raises(exceptions.ConnectionFailed, match="did not answer in time"):
            lab.testcases.cancel("1")
        assert time.monotonic() - begun < 40
