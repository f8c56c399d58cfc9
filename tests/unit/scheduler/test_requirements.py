"""What callers say of the hosts they want."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labapi.exceptions import InvalidInput
from labapi.scheduler import requirements
from labapi.scheduler.requirements import InvalidSentence, parse
from tests.unit.scheduler.hosts import host

HOST = host(
    "lab-1",
    metadata={"rack": "r7", "model": "DELL R740", "u": "12", "broken": "no", "os": "metadata"},
    facts={
        "memory_total_mib": 4096,
        "load1": 0.5,
        "kvm": True,
        "gpus": ["a100", "h100"],
        "os": "facts",
        "nothing": None,
        "tree": {"a": 1},
        "huge": 10**300,
    },
)


@pytest.mark.parametrize(
    ("sentence", "met"),
    [
        ("rack=r7", True),
        ("rack == r7", True),
        ("rack=r8", False),
        ("rack=R7", False),
        ("rack!=r8", True),
        ("rack != r7", False),
        ("no_such=x", False),
        ("no_such!=x", True),
        ("rack in (r6,r7)", True),
        ("rack in(r6 , r8)", False),
        ("rack not in (r6, r8)", True),
        ("rack not  in (r7)", False),
        ("no_such not in (r7)", True),
        ('model="DELL R740"', True),
        ("model='DELL R740'", True),
        (r'model="DELL\ R740"', True),
        ("model in (x, 'DELL R740')", True),
        ('rack=""', False),
        ("u >= 12", True),
        ("u > 12", False),
        ("u=12", True),
        ("u=12.0", False),  # metadata are text
        ("rack >= 7", False),
        ("memory_total_mib >= 4096", True),
        ("memory_total_mib > 4095.5", True),
        ("memory_total_mib<4e3", False),
        ("memory_total_mib=4096.0", True),
        ("memory_total_mib in (1024, 4096)", True),
        ("memory_total_mib=many", False),
        ("load1 <= -1", False),
        ("huge > 1", True),
        ("huge=1", False),
        ("kvm", True),
        ("!kvm", False),
        ("kvm=true", True),
        ("kvm=True", True),
        ("kvm=1", False),
        ("kvm >= 1", False),
        ("gpus=h100", True),
        ("gpus in (v100, a100)", True),
        ("gpus=v100", False),
        ("gpus!=a100", False),
        ("gpus", True),
        ("broken", False),
        ("!broken", True),
        ("!no_such", True),
        ("no_such", False),
        ("nothing", False),
        ("nothing=None", False),
        ("tree=1", False),
        ("tree > 0", False),
        ("os=metadata", True),
        ("os=facts", False),
        ("  rack  =  r7  ", True),
        ("inventory=x", False),
        ("!notable", True),
    ],
)
def test_a_host_fulfils_a_sentence_or_not(sentence: str, met: bool) -> None:
    assert parse(sentence).met_by(HOST) is met


@pytest.mark.parametrize(
    ("sentence", "column", "problem"),
    [
        ("", 1, "a key is expected"),
        ("=r7", 1, "a key is expected"),
        ("!", 2, "a key is expected"),
        ("räck=r7", 2, "expected = != "),
        ("rack r7", 6, "expected = != "),
        ("rack=", 6, "a value is expected"),
        ("model=DELL R740", 12, "a value with spaces belongs in quotation marks"),
        ('model="DELL', 7, "a value is expected"),
        ("memory >= many", 11, "a number is expected, not 'many'"),
        ("memory >= 1e999", 11, "a number is expected, not '1e999'"),
        ("memory >= nan", 11, "a number is expected, not 'nan'"),
        ("rack < r7", 8, "a number is expected, not 'r7'"),
        ("rack in r7", 9, "values in brackets are expected"),
        ("rack in ()", 10, "a value is expected"),
        ("rack in (a b)", 12, r"expected ',' or '\)'"),
        ("rack in (a", 11, r"expected ',' or '\)'"),
        ("rack in (a) b", 13, "nothing more is expected"),
        ("rack not r7", 6, "expected = != "),
        ("!rack=r7", 6, "nothing more is expected here; an operator"),
        ("rack=r7; reboot", 10, "nothing more is expected"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_column(
    sentence: str, column: int, problem: str
) -> None:
    with pytest.raises(InvalidSentence, match=rf"column {column}: .*{problem}") as caught:
        parse(sentence)
    assert caught.value.column == column


def test_sentences_are_bounded() -> None:
    with pytest.raises(InvalidSentence, match="at most 512 characters"):
        parse("rack=" + "x" * 600)
    values = ",".join(map(str, range(65)))
    with pytest.raises(InvalidSentence, match="at most 64 values"):
        parse(f"rack in ({values})")
    with pytest.raises(InvalidInput, match=r"^requires: at most 32 sentences, not 33$"):
        requirements.parse_all("requires", ["rack=r7"] * 33)
    assert len(requirements.parse_all("requires", ["rack=r7"] * 32)) == 32


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("gpu", "it has no 'gpu'"),
        ("rack=r8", "its rack is r7"),
        ("rack >= 7", "its rack is r7, which is not a number"),
        ("memory_total_mib >= 8192", "its memory_total_mib is 4096"),
    ],
)
def test_what_a_host_has_instead(sentence: str, found: str) -> None:
    assert parse(sentence).lack(HOST) == found


@given(st.text(max_size=40) | st.text("!=<>in()not ,'\"\\ar7.-", max_size=40))
def test_whatever_is_said_is_read_or_refused(sentence: str) -> None:
    try:
        read = parse(sentence)
    except InvalidSentence as error:
        column = error.column
    else:
        column = 1
        assert read.met_by(HOST) in (True, False)
        assert read.lack(HOST)
    assert 1 <= column <= len(sentence) + 1


KEYS = st.sampled_from(["rack", "memory_total_mib", "gpus", "no_such"])
VALUES = st.sampled_from(["r7", "4096", "a100", "x y"])


@given(KEYS, st.lists(VALUES, min_size=1))
def test_what_is_negated_is_the_opposite(key: str, values: list[str]) -> None:
    listed = ", ".join(f"'{value}'" for value in values)
    yes, no = parse(f"{key} in ({listed})"), parse(f"{key} not in ({listed})")
    assert yes.met_by(HOST) is not no.met_by(HOST)
    assert yes.met_by(HOST) is any(parse(f"{key}='{value}'").met_by(HOST) for value in values)
