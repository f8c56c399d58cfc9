"""Options of a filter: typed, and refused with the filter, the option and what was expected."""

from __future__ import annotations

import pytest

from labapi_middleware.filter import (
    Conf,
    Option,
    OptionError,
    boolean,
    choice,
    comma_list,
    integer,
    seconds,
    text,
)

SIZE = Option("size", "10", integer(1, 100), "A size.")
REALM = Option("realm", "labapi", text, "A realm.")
PASSWORD = Option("password", "s3cret", integer(0, 9), "A password.", secret=True)
RULE = Option("rule_*", "", integer(0, 9), "Rules.")
OPTIONS = (SIZE, REALM, RULE)


def test_values_come_from_the_section_then_from_default_then_from_the_filter():
    conf = Conf("f", OPTIONS, {"size": "20"}, {"size": "30", "realm": "r", "log_level": "x"})
    assert (conf[SIZE], conf[REALM]) == (20, "r")
    assert Conf("f", OPTIONS, {})[SIZE] == 10


def test_a_family_has_any_number_of_members():
    conf = Conf("f", OPTIONS, {"rule_a": "1", "rule_b_c": "2"}, {"rule_d": "3", "rules": "x"})
    assert conf.members(RULE) == {"a": 1, "b_c": 2, "d": 3}
    assert conf.shown(RULE) == "rule_d = 3; rule_a = 1; rule_b_c = 2"
    assert Conf("f", OPTIONS, {}).members(RULE) == {}


@pytest.mark.parametrize(
    ("given", "option", "problem"),
    [
        ({"sise": "1"}, "sise", "did you mean 'size'"),
        ({"rul_a": "1"}, "rul_a", "did you mean 'rule_*'"),
        ({"rule_": "1"}, "rule_", "did you mean 'rule_*'"),
        ({"zzz": "1"}, "zzz", "known: realm, rule_*, size"),
        ({"size": "x"}, "size", "'x': expected a whole number from 1 to 100"),
        ({"size": "0"}, "size", "from 1 to 100"),
        ({"rule_a": "x"}, "rule_a", "from 0 to 9"),
    ],
)
def test_what_cannot_be_used_is_named(given, option, problem):
    with pytest.raises(OptionError) as raised:
        Conf("f", OPTIONS, given)
    assert (raised.value.filter, raised.value.option) == ("f", option)
    assert problem in raised.value.problem


def test_a_filter_without_options_says_so():
    with pytest.raises(OptionError, match="has no options"):
        Conf("f", (), {"a": "1"})


def test_a_secret_is_not_shown():
    with pytest.raises(OptionError) as raised:
        Conf("f", (PASSWORD,), {"password": "hunter2"})
    assert "hunter2" not in str(raised.value)
    assert Conf("f", (PASSWORD,), {"password": "5"}).shown(PASSWORD) == "***"


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (boolean, " Yes ", True),
        (boolean, "off", False),
        (comma_list, " a,, b ,", ("a", "b")),
        (seconds(0, 10), "0.5", 0.5),
        (choice("a", "b"), " b ", "b"),
    ],
)
def test_parsers(parse, value, expected):
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (boolean, ""),
        (boolean, "maybe"),
        (seconds(0, 10), "nan"),
        (seconds(0, 10), "inf"),
        (seconds(0, 10), "-1"),
        (seconds(0, 10), "1s"),
        (choice("a", "b"), "c"),
        (integer(0, 5), "1.5"),
    ],
)
def test_parsers_refuse(parse, value):
    with pytest.raises(ValueError, match="expected"):
        parse(value)
