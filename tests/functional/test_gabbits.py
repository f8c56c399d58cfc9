"""HTTP behaviour over embedded defaults: request and response side by side in gabbits/."""

from __future__ import annotations

import sys

import pytest
from gabbi import driver
from gabbi.driver import test_pytest  # noqa: F401  (what the generator fills)

from tests.functional.gabbi_lab import GABBITS, EmbeddedLab, intercept


class LabFixture(EmbeddedLab):
    """The fixture that the gabbits name."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every request."""
    driver.py_test_generator(
        GABBITS,
        intercept=intercept,
        fixture_module=sys.modules[__name__],
        test_loader_name="embedded",
        metafunc=metafunc,
    )
