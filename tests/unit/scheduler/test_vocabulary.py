"""Requirements that no host has ever met."""

from __future__ import annotations

import pytest

from labapi.scheduler.host_states import HostStates
from labapi.scheduler.spec import Access
from labapi.scheduler.vocabulary import MAX_FACTS
from tests.unit.scheduler.hosts import host, request, scheduler

DRIVER = scheduler()


def lab() -> HostStates:
    return HostStates(
        [
            host("h-1", metadata={"rack": "r7", "u": "12"}, facts={"load1": 0.5}),
            host("h-2", metadata={"rack": "r8", "load1": "text"}),
            host("h-3", metadata={"allow": "192.0.2.1", "secret": "sauce"}),
        ]
    )


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("rck=r7", "no host has ever had the key 'rck'; did you mean 'rack'?"),
        ("rck", "no host has ever had the key 'rck'; did you mean 'rack'?"),
        ("lod1 < 4", "no host has ever had the key 'lod1'; did you mean 'load1'?"),
        ("zzzz=1", "no host has ever had the key 'zzzz'"),
        ("rack=r77", "no host has ever had 'rack=r77'; did you mean 'r7'?"),
        ("rack in (x, r88)", "no host has ever had 'rack in (x, r88)'; did you mean 'r8'?"),
        ("rack >= 7", "'rack >= 7': no host has ever had a number as 'rack'"),
    ],
)
def test_it_is_said_with_what_may_be_meant(sentence: str, said: str) -> None:
    assert DRIVER.never_met(request(requires=("rack=r7", sentence)), lab()) == [said]


@pytest.mark.parametrize(
    "sentence",
    [
        "rack=r8",
        "rack in (r7, x)",
        "rack",
        "u >= 99",
        "load1 >= 99",
        "load1=7",
        "!rck",
        "rck != x",
        "rck not in (x, y)",
    ],
)
def test_what_may_be_met_one_day_is_not_refused(sentence: str) -> None:
    assert DRIVER.never_met(request(requires=(sentence,)), lab()) == []


def test_what_a_host_had_once_is_known() -> None:
    hosts = lab()
    hosts[1].metadata = {"rack": "r9"}
    hosts.update(hosts[1])
    hosts.remove(2)
    assert DRIVER.never_met(request(requires=("rack in (r7)", "rack=r8")), hosts) == []


def test_words_of_hidden_hosts_are_not_told() -> None:
    asked = request(requires=("secrt",), client="10.0.0.1", access=Access(prefix="allow"))
    assert DRIVER.never_met(asked, lab()) == ["no host has ever had the key 'secrt'"]


def test_agents_that_make_up_facts_do_not_fill_the_memory() -> None:
    hosts = lab()
    for number in range(10):
        made_up = {f"fact-{number}-{one}": 1 for one in range(MAX_FACTS)}
        hosts.add(host("h-9", facts=made_up))
    assert len(hosts.vocabulary._facts) <= 2 * MAX_FACTS
    assert DRIVER.never_met(request(requires=("rck",)), hosts) == []  # who knows
