"""What is said where something was asked for that is not there."""

from __future__ import annotations

from labapi.known import COMPARED, SHOWN, there_is


def test_it_says_what_there_is_and_what_may_be_meant() -> None:
    assert there_is([]) == "there is none yet"
    assert there_is(["zone-b", "zone-a"], "zona-b") == (
        "known: zone-a, zone-b; did you mean 'zone-b'?"
    )


def test_of_very_many_names_so_many_are_compared() -> None:
    names = [f"a-{number:06}" for number in range(COMPARED)]
    said = there_is([*names, "zone-b"], "zona-b")
    assert said == f"known: {', '.join(names[:SHOWN])}, …"
