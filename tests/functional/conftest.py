"""A lab for tests that are not gabbits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a running embedded lab."""
    running = Lab(tmp_path_factory.mktemp("lab")).start()
    yield running
    running.stop()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Keep colons out of the names of tests: gabbi takes what is before one for its own."""
    return val.replace(":", "-") if isinstance(val, str) and ":" in val else None
