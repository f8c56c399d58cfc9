"""One cluster for the whole suite, and the pipeline that docs/swift.md shows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.swift.cluster import SAMPLE, Cluster, Proxy
from tests.integration.swift.door import Door
from tests.integration.swift.lab import LIST, Lab, Tokens
from tests.integration.swift.page import documented


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="labapi-swift-") as folder,
        Cluster(Path(folder)) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def plain(cluster: Cluster) -> Proxy:
    """Swift without the filter, on the same memcached: sets things up, says what Swift says."""
    return cluster.start_proxy("plain", SAMPLE)


@pytest.fixture(scope="session")
def guarded(cluster: Cluster) -> Proxy:
    """Swift with the pipeline and the sections of docs/swift.md, behind PROXY protocol."""
    pipeline, sections = documented()
    return cluster.start_proxy(
        "guarded", pipeline, sections, default="require_proxy_protocol = true"
    )


@pytest.fixture(scope="session")
def door(guarded: Proxy) -> Iterator[Callable[[str], str]]:
    """Return the URL at which somebody reaches the guarded proxy from an address."""
    doors: dict[str, Door] = {}

    def at(address: str) -> str:
        if address not in doors:
            doors[address] = Door(address, guarded.port)
        return doors[address].url

    yield at
    for opened in doors.values():
        opened.close()


@pytest.fixture(scope="session")
def token(plain: Proxy) -> Tokens:
    return Tokens(plain.url)


@pytest.fixture(scope="session")
def lab(plain: Proxy, token: Tokens) -> Lab:
    """An account with a guarded container, ``kept``, and one that is not, ``unlisted``."""
    made = Lab(plain.url, token)
    made.container("kept", LIST, {"X-Container-Read": "test:reader"})
    made.put("kept/secret")
    made.container("unlisted")
    made.put("unlisted/thing", b"thing")
    return made
