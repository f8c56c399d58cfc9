"""Lists of more hosts than are read at a time, on SQLite and on MariaDB."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
import webob

from labapi import config
from labapi.api import load
from labapi.api.backend.backend import Backend
from labapi.api.controllers.slaves import BATCH
from labapi.conductor.heartbeats import said
from labapi.db import hosts, services
from labapi.db.session import Database
from labapi.rpc.messages import Announce, MethodDescription
from labapi.rpc.transport import Transport
from tests.backends import database  # noqa: F401
from tests.lab import ROOT

COUNT = 2 * BATCH + BATCH // 2
NOW = datetime.datetime.now(datetime.UTC)
# Far enough in the past and in the future for any machine.
LONG_AGO, YET_TO_COME = NOW - datetime.timedelta(days=1), NOW + datetime.timedelta(days=1)

Ask = Callable[[str], webob.Response]


@pytest.fixture(scope="module")
def ask(
    database: Database,  # noqa: F811  (the fixture)
    tmp_path_factory: pytest.TempPathFactory,
) -> Ask:
    announced = [announce(number) for number in range(COUNT)]
    database.write(hosts.announce, {m.host: said(m) for m in announced}, NOW)
    names = [message.host for message in announced]
    database.write(services.beat, services.AGENT, dict.fromkeys(names[0::3]), YET_TO_COME)
    database.write(services.beat, services.AGENT, dict.fromkeys(names[1::3]), LONG_AGO)
    conf = config.new(
        state_path=str(tmp_path_factory.mktemp("state")),
        api__paste_config=str(ROOT / "etc" / "api-paste.ini"),
        messaging__transport_url="memory://",
    )
    conf([], project="labapi", default_config_files=[])
    app = load.load(conf, Backend.of(conf, Transport(conf), database))

    def get(path: str) -> webob.Response:
        request = webob.Request.blank(path, remote_addr="127.0.0.1")
        response = request.get_response(app)
        assert response.status_code == 200, response.text
        return response

    return get


def announce(number: int) -> Announce:
    return Announce(
        host=f"host-{number}",
        agent="a",
        address="192.0.2.1" if number % 2 else None,
        release="1.0",
        slots=number % 7,
        plugins={
            "größe": {
                f"m{number % 5}": MethodDescription(
                    description=f'\\ "{number % 11}" ✓', schema={"type": "object"}
                )
            },
            "b": {},
        },
    )


def expected(number: int) -> dict[str, Any]:
    seen = {0: YET_TO_COME, 1: LONG_AGO, 2: None}[number % 3]
    return {
        "id": number + 1,
        "host": f"host-{number}",
        "address": "192.0.2.1" if number % 2 else None,
        "compute_node_type": "größe,b",
        "compute_node_method": {"größe": {f"m{number % 5}": f'\\ "{number % 11}" ✓'}, "b": {}},
        "state": "up" if number % 3 == 0 else "down",
        "status": "enabled",
        "health": "good",
        "claimed": False,
        "trusted_keys": None,
        "trusts_conductors": True,
        "metadata": {},
        "last_seen": seen and seen.isoformat().replace("+00:00", "Z"),
        "slots": number % 7,
        "release": "1.0",
        "zone": None if seen is None else "lab",
        "groups": [],
        "lease": None,
        "running": [],
    }


def test_the_detailed_list_is_whole_and_in_order(ask: Ask) -> None:
    listed = ask("/v2.1/slaves/detail").json
    assert list(listed.values()) == [expected(number) for number in range(COUNT)]
    assert [list(host) for host in listed.values()] == [list(expected(0))] * COUNT


def test_the_brief_list_names_the_same(ask: Ask) -> None:
    detail = ask("/v2.1/slaves/detail").json
    assert ask("/v2.1/slaves").json == {
        uuid: {"id": host["id"], "host": host["host"]} for uuid, host in detail.items()
    }


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_host_looks_as_in_the_list(ask: Ask, number: int) -> None:
    (uuid,) = (u for u, h in ask("/v2.1/slaves").json.items() if h["host"] == f"host-{number}")
    assert ask(f"/v2.1/slaves/{uuid}").json == {**expected(number), "facts": {}, "uuid": uuid}


@pytest.mark.parametrize("limit", [BATCH - 1, BATCH, BATCH + 1])
def test_pages_make_up_the_list(ask: Ask, limit: int) -> None:
    found: dict[str, Any] = {}
    path: str | None = f"/v2.1/slaves/detail?limit={limit}"
    pages = 0
    while path is not None:
        response = ask(path)
        page = json.loads(response.body)
        assert not found.keys() & page.keys()
        found |= page
        pages += 1
        link = response.headers.get("Link")
        path = link.split(">")[0].removeprefix("<http://localhost") if link else None
    assert pages == -(-COUNT // limit)
    assert found == ask("/v2.1/slaves/detail").json
