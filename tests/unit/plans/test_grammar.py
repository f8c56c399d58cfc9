"""The grammar of test plans."""

from __future__ import annotations

import copy
import re
import tracemalloc
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.api.schemas import testplans
from labapi.case import Result
from labapi.plans import grammar
from labapi.plans.entries import Limits
from labapi.plans.entry import Retry
from labapi.plans.grammar import Plan
from labapi.plans.problems import MAX_SHOWN, BadPlan, Problems

LIMITS = Limits(entries=50, size=20_000, depth=16)
CASE = {"plugin": "linux_system", "host": "h", "method": "run_shell", "parameters": {}}


def read(document: dict[str, Any], limits: Limits = LIMITS) -> Plan:
    problems = Problems()
    plan = grammar.read(document, testplans.fields(), limits, lambda _: ["h1", "h2"], problems)
    problems.check()
    return plan


def plan(*entries: dict[str, Any], step: str = "Serial-Step-1", **top: Any) -> dict[str, Any]:
    """Return a plan of one step; entries have a case's fields where they say nothing."""
    numbered = {str(number): {**CASE, **entry} for number, entry in enumerate(entries, 1)}
    numbered = {
        number: {name: value for name, value in entry.items() if value is not None}
        for number, entry in numbered.items()
    }
    return {"name": "a plan", "testplan": {"1": {step: numbered}}, **top}


def wrong(document: dict[str, Any], limits: Limits = LIMITS) -> list[str]:
    """Return what is wrong with a plan."""
    with pytest.raises(BadPlan) as caught:
        read(document, limits)
    return list(caught.value.errors)


def get(name: Any) -> dict[str, Any]:
    return {"get_param": name}


def test_what_is_put_in_is_bounded_before_anybody_looks_at_it() -> None:
    large = plan({"parameters": {"args": [get("L")] * 300}}, environment={"L": ["x" * 18_000]})
    tracemalloc.start()
    try:
        assert wrong(large) == ["testplan: more than 20000 bytes are put in"]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_order_is_that_of_numbers_and_of_steps_in_the_document() -> None:
    one = {"1": CASE}
    document = {
        "name": "order",
        "testplan": {
            "10": {"Serial-Step-1": one},
            "2": {
                "Serial-Step-2": {"10": CASE, "9": CASE},
                "Parallel-Step-1": {"2": CASE, "1": CASE},
            },
        },
    }
    assert [(entry.path, entry.turn) for entry in read(document).entries] == [
        ("testplan/2/Serial-Step-2/9", 0),
        ("testplan/2/Serial-Step-2/10", 1),
        ("testplan/2/Parallel-Step-1/1", 2),
        ("testplan/2/Parallel-Step-1/2", 2),
        ("testplan/10/Serial-Step-1/1", 3),
    ]


def test_parameters_are_put_in_anywhere_in_a_value() -> None:
    environment = {"Data": {"STA1": "h1", "list": [{"x": 5}]}, "more": {"a": [1]}}
    parameters = {"a": get("Data:list:0:x"), "b": [get("more"), {"c": get("Data:STA1")}]}
    document = plan({"host": get("Data:STA1"), "parameters": parameters}, environment=environment)
    before = copy.deepcopy(document)
    (entry,) = read(document).entries
    assert entry.body["host"] == "h1"
    assert entry.body["parameters"] == {"a": 5, "b": [{"a": [1]}, {"c": "h1"}]}
    assert document == before


def test_a_matrix_and_hosts_become_entries() -> None:
    spread = {
        "matrix": {"A": ["x", "y"], "B": [1, True]},
        "parameters": {"a": get("A"), "b": get("B")},
    }
    entries = read(plan(spread)).entries
    assert [entry.name for entry in entries] == [
        "1[A=x,B=1]",
        "1[A=x,B=true]",
        "1[A=y,B=1]",
        "1[A=y,B=true]",
    ]
    assert [entry.turn for entry in entries] == [0, 1, 2, 3]
    assert entries[1].body["parameters"] == {"a": "x", "b": True}
    entries = read(plan({"host": None, "hosts": "all"}, {})).entries
    assert [(entry.name, entry.turn, entry.body["host"]) for entry in entries] == [
        ("1[h1]", 0, "h1"),
        ("1[h2]", 0, "h2"),
        ("2", 1, "h"),
    ]


def test_on_all_hosts_that_fit_an_entry_asks_for_no_other() -> None:
    every = {"host": None, "hosts": "all"}
    document = plan({**every, "requires": ["kvm"]}, {**every, "timeout": 5})
    document["testplan"]["1"]["group"] = "bench"
    assert [entry.body for entry in read(document).entries[1:3]] == [
        {**CASE, "host": "h2"},
        {**CASE, "host": "h1", "timeout": 5},
    ]


def test_descriptions_of_test_cases_and_steps_may_ask_for_values() -> None:
    document = plan({}, environment={"WHAT": "both stations"})
    test_case = document["testplan"]["1"]
    test_case["DESCRIPTION"] = test_case["Serial-Step-1"]["DESCRIPTION"] = get("WHAT")
    (outlined,) = read(document).outline
    assert outlined["description"] == outlined["steps"][0]["description"] == "both stations"
    test_case["DESCRIPTION"] = get("WHO")
    assert wrong(document) == ["testplan/1/DESCRIPTION: get_param: there is no 'WHO'; known: WHAT"]


def test_rules_of_an_entry() -> None:
    first = {"register": "IP", "retry": {}, "always": True, "DESCRIPTION": "two\nlines"}
    second = {
        "parameters": {"to": [get("IP:0")]},
        "retry": {"on": ["FAIL", "TIMEOUT"], "attempts": 3},
        "continue_on": ["FAIL"],
    }
    third = {"host": None, "same_host_as": ["1/Serial-Step-1/1", "1/Serial-Step-1/2"]}
    one, two, three = read(plan(first, second, third)).entries
    assert (one.always, one.description, one.rules.register) == (True, "two\nlines", "IP")
    assert one.rules.retry == Retry()
    assert two.rules.uses == ("IP",)
    assert two.body["parameters"] == {"to": [get("IP:0")]}
    assert two.rules.retry == Retry(on=(Result.FAIL, Result.TIMEOUT), attempts=3)
    assert three.rules.same_host_as == (1, 2)


def test_whom_it_tells() -> None:
    notify = [{"mail": "a@b.c"}, {"webhook": "https://ci.example/x", "secret": get("key")}]
    environment = {"mail": {"receiver": ["a@b.c", "lab@example.org"]}, "key": "s"}
    assert read(plan({}, notify=notify, environment=environment)).notify == [
        {"mail": "a@b.c"},
        {"mail": "lab@example.org"},
        {"webhook": "https://ci.example/x", "secret": "s"},
    ]


@pytest.mark.parametrize(
    ("entries", "path", "said"),
    [
        ([{"host": get("Data:STA2")}], "1/host", "there is no 'Data:STA2'; known: STA1; did you"),
        ([{"host": get("Data:STA1:x")}], "1/host", "'x' would stand in a value that has nothing"),
        ([{"host": {"get_param": "Data", "x": 1}}], "1/host", "get_param stands alone, not beside"),
        ([{"parameters": {"a": [get(5)]}}], "1/parameters/a/0", "expected a name such as"),
        ([{"plugin": None}], "1", "the field 'plugin' is missing"),
        ([{"parametrs": {}}], "1", "unknown field 'parametrs'.*did you mean 'parameters'"),
        ([{"timeout": 0}], "1/timeout", "0 is not greater than 0"),
        ([{"retry": {"attempts": 11}}], "1/retry", "attempts: at most 10"),
        ([{"retry": {"on": ["PASS"]}}], "1/retry", "on: 'PASS' is not one of FAIL, ERROR, TIMEOUT"),
        ([{"continue_on": "FAIL"}], "1/continue_on", "expected a list of results"),
        ([{"always": "yes"}], "1/always", "'yes' is neither true nor false"),
        ([{"DESCRIPTION": "a\x00"}], "1/DESCRIPTION", "without control characters"),
        ([{"register": "a:b"}], "1/register", "'a:b' is not a name"),
        ([{"register": "Data"}], "1/register", "'Data' is in the environment already"),
        ([{"register": "X"}, {"register": "X"}], "2/register", "by another entry already"),
        ([{"register": "X"}, {"host": get("X")}], "2/host", "only 'parameters' of what runs later"),
        ([{"parameters": get("X")}, {"register": "X"}], "1/parameters", "'X' is not set yet"),
        ([{"parameters": get("X"), "register": "X"}], "1/parameters", "'X' is not set yet"),
        ([{"register": "X", "matrix": {"A": ["a"]}}], "1.A=a./register", "more than once"),
        ([{"matrix": {"Data": [1]}}], "1/matrix/Data", "in the environment already"),
        ([{"matrix": {"A": []}}], "1/matrix", "A: expected a list of 1 to 50 values"),
        ([{"matrix": {"A": [1, "1"]}}], "1/matrix", "A: '1' is there twice"),
        ([{"matrix": {"A": [{}]}}], "1/matrix", "A: an object is no text"),
        (
            [{"matrix": {n: list(range(50)) for n in "ABCDEFGH"}}],
            "1/matrix",
            "combinations; a plan",
        ),
        (
            [{"matrix": {"A": ["x", "x,B=y"], "B": ["y", "y,B=y"]}}],
            "1.A=x,B=y,B=y.",
            "another combination of its matrix has the same name",
        ),
        ([{"hosts": "some", "host": None}], "1/hosts", "expected 'all' or a list of names"),
        ([{"hosts": ["a"]}], "1/hosts", "leave it out, or 'host'"),
        ([{"hosts": [1], "host": None}], "1/hosts", "expected a text of 1 to 255 characters"),
        ([{}, {"same_host_as": "1/Serial-Step-1/1"}], "2/same_host_as", "leave it out, or 'host'"),
    ],
)
def test_what_is_wrong_with_an_entry(entries: list[Any], path: str, said: str) -> None:
    errors = wrong(plan(*entries, environment={"Data": {"STA1": "h"}}))
    assert len(errors) == 1
    assert re.match(rf"testplan/1/Serial-Step-1/{path}: .*{said}", errors[0]), errors


def same(*references: Any) -> list[dict[str, Any]]:
    return [{"host": None, "same_host_as": f"1/Parallel-Step-1/{other}"} for other in references]


def test_circles_of_same_host_as_are_named() -> None:
    (error,) = wrong(plan(*same(2, 3, 1), step="Parallel-Step-1"))
    assert "a circle: 1/Parallel-Step-1/" in error
    (error,) = wrong(plan(*same(1), step="Parallel-Step-1"))
    assert "a circle" in error
    (error,) = wrong(plan(*same(9), step="Parallel-Step-1"))
    assert "there is no entry '1/Parallel-Step-1/9'" in error
    assert read(plan(*same(2, 3), {}, step="Parallel-Step-1")).entries[0].rules.same_host_as == (2,)


def test_same_host_as_names_one_entry_that_does_not_run_later() -> None:
    later = {"host": None, "same_host_as": "1/Serial-Step-1/2"}
    assert "runs later" in wrong(plan(later, {}))[0]
    many = {"host": None, "hosts": "all"}
    assert "becomes 2 entries; name one" in wrong(plan({}, many, {**later}))[0]
    one = {"host": None, "same_host_as": "1/Serial-Step-1/1[h2]"}
    assert read(plan(many, one)).entries[-1].rules.same_host_as == (2,)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, ["the field 'name' is missing", "the field 'testplan' is missing"]),
        ({"name": "a\nb", "testplan": {}}, ["name: expected a text", "testplan: it is empty"]),
        ({"name": "a", "testplan": {"1": {}}}, ["testplan/1: it has no step"]),
        (plan(), ["testplan/1/Serial-Step-1: it is empty; expected an entry '1'"]),
        ({"name": "a", "testplan": []}, ["testplan: expected an object, not a list"]),
        (plan({}, step="Step-1"), ["testplan/1: unknown field 'Step-1'", "testplan/1: it has no"]),
        (plan({}, nmae="x"), ["unknown field 'nmae'; known: environment, name"]),
        (plan({}, priority=101), ["priority: 101 is greater than"]),
        (plan({}, stop_on_fail=1), ["stop_on_fail: 1 is neither"]),
        (plan({}, notify=[{"mail": "nobody"}]), ["notify/0: 'nobody' is not a mail address"]),
        (plan({}, notify=[{"webhook": "file:///x"}]), ["notify/0: webhook: 'file:///x' is not a"]),
        (plan({}, notify=[{"webhook": "http://u:p@h/"}]), ["notify/0: webhook: "]),
        (plan({}, environment={"mail": {"receiver": 5}}), ["environment/mail/receiver: 5 is not"]),
        (plan({}, environment={"a": [get("b")]}), ["environment/a/0: get_param works in"]),
    ],
)
def test_what_is_wrong_with_a_plan(document: dict[str, Any], said: list[str]) -> None:
    errors = wrong(document)
    assert len(errors) == len(said)
    assert all(error.startswith(begin) for error, begin in zip(errors, said, strict=True)), errors


def test_of_very_many_problems_the_first_are_told() -> None:
    errors = wrong(plan(*[{"timeout": 0, "x": 1}] * 80), LIMITS._replace(entries=80))
    assert len(errors) == MAX_SHOWN + 1
    assert errors[-1] == "and 60 more"


def test_a_plan_is_bounded_with_all_that_is_put_in() -> None:
    assert wrong(plan(*[{}] * 51)) == ["testplan: more than 50 entries"]
    large = {"a": "x" * 9000}
    (error,) = wrong(plan(*[{"parameters": large}] * 3))
    assert error.startswith("testplan: its entries have more than 20000 bytes")
    (error,) = wrong(plan(*[{"parameters": get("large")}] * 3, environment={"large": large}))
    assert error == "testplan: more than 20000 bytes are put in"
    assert "more than 50 entries" in wrong(plan({"matrix": {"A": list(range(50))}}, {}))[0]


def test_a_plan_is_no_deeper_with_what_is_put_in() -> None:
    deep: Any = {}
    for _ in range(12):
        deep = {"a": deep}
    parameters = {"a": {"a": {"a": {"a": {"a": get("deep")}}}}}
    errors = wrong(plan({"parameters": parameters}, environment={"deep": deep}))
    assert errors == ["testplan/1/Serial-Step-1/1/parameters: nested deeper than 16 levels"]


_WORDS = """1 2 10 x \x00 name environment testplan Serial-Step-1 Parallel-Step-1 DESCRIPTION plugin
    host method parameters get_param matrix hosts register retry on notify A same_host_as always
    continue_on group"""
_KEYS = st.sampled_from(_WORDS.split())
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["all", "A", "A:0", "1/Serial-Step-1/1", "FAIL", "", "\x00", "h"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(
    st.dictionaries(_KEYS, _VALUES, max_size=5)
    | st.builds(lambda v: plan(v), st.dictionaries(_KEYS, _VALUES))
)
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        read(document)
    except BadPlan as error:
        errors = error.errors
    else:
        return
    assert errors
    assert all(text.isprintable() for text in errors)


_ENTRY = st.fixed_dictionaries(
    {"kind": st.sampled_from(["plain", "matrix", "hosts", "register", "use", "same"])}
)
_STEPS = st.lists(
    st.tuples(st.booleans(), st.lists(_ENTRY, min_size=1, max_size=4)), min_size=1, max_size=4
)


@given(_STEPS)
def test_the_order_of_every_plan_keeps_its_promises(steps: list[Any]) -> None:
    document: dict[str, Any] = {"name": "any", "testplan": {"1": {}}}
    registered: list[str] = []
    for number, (serial, entries) in enumerate(steps):
        step = document["testplan"]["1"][f"{'Serial' if serial else 'Parallel'}-Step-{number}"] = {}
        usable = list(registered)
        for key, entry in enumerate(entries, 1):
            step[str(key)] = dict(CASE)
            if entry["kind"] == "matrix":
                step[str(key)]["matrix"] = {"A": ["a", "b"]}
            elif entry["kind"] == "hosts":
                del step[str(key)]["host"]
                step[str(key)]["hosts"] = "all"
            elif entry["kind"] == "register":
                registered.append(f"R{number}_{key}")
                step[str(key)]["register"] = registered[-1]
            elif entry["kind"] == "use" and usable:
                step[str(key)]["parameters"] = {"a": get(usable[-1])}
    found = read(document).entries
    assert [entry.number for entry in found] == list(range(1, len(found) + 1))
    turns = [entry.turn for entry in found]
    assert turns == sorted(turns)
    steps_of_turn = defaultdict(set)
    setting = {entry.rules.register: entry.turn for entry in found if entry.rules.register}
    for entry in found:
        steps_of_turn[entry.turn].add((entry.test_case, entry.step))
        assert all(setting[name] < entry.turn for name in entry.rules.uses)
    assert all(len(within) == 1 for within in steps_of_turn.values())
    assert len({(entry.step, entry.name) for entry in found}) == len(found)
