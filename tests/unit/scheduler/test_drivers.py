"""Drivers, and how what the configuration names is found."""

from __future__ import annotations

from typing import Any

import pytest

from labapi.exceptions import ConfigError
from labapi.scheduler.host_states import HostStates
from tests.unit.scheduler.hosts import host, names, request, scheduler

LAB = ("doc-1", "doc-2", "ops-3", "dev-4", "dev-5")


def lab(**values: Any) -> HostStates:
    return HostStates(host(name, **values) for name in LAB)


def test_chance_takes_any_host_that_will_do() -> None:
    driver, hosts = scheduler(driver="chance"), lab(slots=1000)
    hosts[2].up = False
    hosts[4].slots = 0  # the heaviest and the lightest have the same chance
    for changed in (hosts[2], hosts[4]):
        hosts.update(changed)
    hosts[5].active = 900
    chosen = names([driver.select(request(), hosts)[0] for _ in range(200)])
    assert set(chosen) == {"doc-1", "ops-3", "dev-5"}


@pytest.mark.parametrize(
    ("client", "prefix"),
    [
        ("10.1.2.3", "doc"),
        ("::ffff:10.1.2.3", "doc"),
        ("10.2.0.0", "ops"),
        ("10.3.0.1", "dev"),
        ("2001:db8::1", "dev"),
        (None, "dev"),
    ],
)
def test_ip_prefix_goes_by_the_callers_address(client: str | None, prefix: str) -> None:
    driver, hosts = scheduler(driver="ip_prefix"), lab()
    explained = driver.explain(request(client=client), hosts)
    assert {name.partition("-")[0] for name in names(explained.hosts)} == {prefix}
    assert names(driver.select(request(client=client), hosts))[0].startswith(prefix)


def test_ip_prefix_may_have_nothing_for_a_caller() -> None:
    driver = scheduler(driver="ip_prefix", ip_prefix=["2001:db8::/32 = ops-", "10.0.0.0/8=x"])
    assert names(driver.select(request(client="2001:db8::7"), lab())) == ["ops-3"]
    for client, why in (
        ("192.0.2.1", "ip_prefix: no line of the option has the caller's address"),
        (None, "ip_prefix: no line of the option has the caller's address"),
        ("10.0.0.1", "ip_prefix: its name does not start with 'x'"),
    ):
        asked = request(client=client)
        assert driver.select(asked, lab()) == []
        assert driver.why_not(asked, lab()[1]) == why


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"driver": "filter"}, r"driver: there is no 'filter'; known: chance, filter_scheduler, "),
        ({"driver": "ip_prefixes"}, r"driver: there is no .*; did you mean 'ip_prefix'\?"),
        ({"filters": ["up", "helthy"]}, r"filters: there is no 'helthy'; .* mean 'healthy'\?"),
        ({"weighers": {"lod": "1"}}, r"weighers: there is no 'lod'; .* mean 'load'\?"),
        ({"weighers": {"load": "much"}}, r"weighers: load:much: expected NAME:NUMBER"),
        ({"weighers": {"load": "nan"}}, r"weighers: load:nan: expected NAME:NUMBER"),
        (
            {"driver": "ip_prefix", "ip_prefix": ["10.1."]},
            r"ip_prefix: '10\.1\.': expected NETWORK=PREFIX or \*=PREFIX",
        ),
        (
            {"driver": "ip_prefix", "ip_prefix": ["10.1.0.0/8=doc"]},
            r"ip_prefix: '10\.1\.0\.0/8=doc': 10\.1\.0\.0/8 has host bits set",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_option(options: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^\[scheduler\] {problem}"):
        scheduler(**options)


def test_a_filter_that_guards_hosts_is_not_left_out_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduler()
    assert caplog.messages == []
    scheduler(filters=["up", "group"])
    assert [message.partition(" cases")[0] for message in caplog.messages] == [
        "[scheduler] filters: without access, lease"
    ]
