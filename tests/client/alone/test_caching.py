"""A manager before another that remembers."""

from __future__ import annotations

from collections.abc import Iterator

from labapi_client.caching import Caching


class Counting:
    """A manager that counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def get(self, name: str, /) -> tuple[str, int]:
        self.asked += 1
        return name, self.asked

    def list(self, **filters: object) -> Iterator[str]:
        self.asked += 1
        yield from sorted(filters)


def test_it_remembers_for_a_while() -> None:
    counting = Counting()
    caching = Caching(counting)
    assert caching.get("a") == caching.get("a") == ("a", 1)
    assert caching.get("b") == ("b", 2)
    assert list(caching.list(x=1)) == list(caching.list(x=1)) == ["x"]
    assert list(caching.list(x=2)) == ["x"]
    assert counting.asked == 4
    caching.forget()
    assert caching.get("a") == ("a", 5)


def test_what_is_old_is_asked_again() -> None:
    caching = Caching(Counting(), seconds=0.0)
    assert (caching.get("a"), caching.get("a")) == (("a", 1), ("a", 2))


def test_it_does_not_grow() -> None:
    caching = Caching(Counting(), most=2)
    assert [caching.get(name)[1] for name in "abca"] == [1, 2, 3, 4]
    assert len(caching._known) == 2
