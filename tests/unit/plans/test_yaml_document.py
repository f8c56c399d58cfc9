"""Documents in YAML: what JSON has, within bounds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.exceptions import InvalidInput
from labapi.nesting import deeper_than
from labapi.plans import yaml_document

DEPTH, SIZE = 16, 10_000
B = {"b": 1}
DEEP = [[[[[[[1]]]]]]]


def read(text: str) -> Any:
    return yaml_document.read(text, DEPTH, SIZE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("retry: {on: [ERROR]}", {"retry": {"on": ["ERROR"]}}),
        ("1: {10: yes}", {"1": {"10": "yes"}}),
        ("~: a\nnull: b\ntrue: c", {"~": "a", "null": "b", "true": "c"}),
        ("[2024-01-01, 12:30:45, 0755, 0x1F]", ["2024-01-01", "12:30:45", "0755", "0x1F"]),
        ("[1, -2, 1.5, 1e3, '1']", [1, -2, 1.5, 1000.0, "1"]),
        ("[true, False, ~, null, 'true']", [True, False, None, None, "true"]),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}", {**dict.fromkeys("ac", B), "d": {**B, "e": 2}}),
        ("a: &x [[[[[[[1]]]]]]]\nb: [[[[[[[[*x]]]]]]]]", {"a": DEEP, "b": [[[[[[[[DEEP]]]]]]]]}),
        ("a: &x {b: 1}\nd:\n  <<: [{c: 3}, *x]\n  b: 2", {"a": B, "d": {"b": 2, "c": 3}}),
    ],
)
def test_values_are_those_of_json(text: str, value: Any) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", r"line 2: the key 'a' is there twice"),
        ("a: &x [*x]", r"line 1: \*x stands for nothing that ends before it"),
        ("a: !!python/object:os.system x", r"line 1: the tag 'tag:yaml.org.*'; a plan has none"),
        ("? [a]\n: b", "line 1: a key is a text or a number"),
        ("a: 1\n---\nb: 1", "line 2: a second document begins"),
        ("a: .inf", "line 1: '.inf' is no number that JSON has"),
        ("a: 1e999", "line 1: '1e999' is no number that JSON has"),
        ('a: "\\ud800"', "line 1: found invalid Unicode character escape code"),
        ("a: \0", "the body is not YAML: unacceptable character #x0000"),
        ("a: [", "the body is not YAML: line 2: "),
        ("a: {<<: 1}", "'<<' merges an object, or a list of them"),
        ("[" * 100, "line 1: nested deeper than 16 levels"),
        ("a: &a [[[[[[[[1]]]]]]]]\nb: [[[[[[[[*a]]]]]]]]", "line 2: nested deeper than 16 levels"),
        ("a: &a {b: [[[[[[[1]]]]]]]}\nc: [[[[[[[{<<: *a}]]]]]]]", "line 2: nested deeper than"),
        (f"a: {'x' * SIZE}", "line 1: more than 10000 bytes, with what aliases stand for"),
    ],
)
def test_everything_else_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(text)


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}"])
def test_aliases_count_for_what_they_stand_for(form: str) -> None:
    def items(number: int) -> str:
        alias = f"*a{number - 1}" if number else "lol"
        names = (f"k{index}: {alias}" if "{{" in form else alias for index in range(10))
        return form.format(", ".join(names))

    bomb = "\n".join(f"a{number}: &a{number} {items(number)}" for number in range(30))
    began = time.thread_time()
    with pytest.raises(InvalidInput, match="with what aliases stand for"):
        read(bomb)
    assert time.thread_time() - began < 1


def test_merges_count_for_what_they_put_in() -> None:
    wide = "a0: &a0 {" + ", ".join(f"k{index}: v" for index in range(1000)) + "}\n"
    with pytest.raises(InvalidInput, match="with what aliases stand for"):
        read(wide + "\n".join(f"b{index}: {{<<: *a0}}" for index in range(100)))


def test_very_many_values_are_not_read_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_document, "MAX_VALUES", 100)
    with pytest.raises(InvalidInput, match="more than 100 keys and values"):
        read("- a\n" * 200)


@given(st.text(alphabet=st.sampled_from(list("ab:{}[],&*!-?|>'\"#%<\n \t01.~x\\@`\0é"))))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read(text)
    except InvalidInput:
        return
    assert not deeper_than(found, DEPTH)
