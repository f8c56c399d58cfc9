"""The same HTTP behaviour over MariaDB and RabbitMQ."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from gabbi import driver
from gabbi.driver import test_pytest  # noqa: F401  (what the generator fills)

from tests.functional.gabbi_lab import GABBITS, EmbeddedLab, intercept
from tests.lab import MariaDB, RabbitMQ


class LabFixture(EmbeddedLab):
    """A lab on real servers."""

    def options(self) -> dict[str, Any]:
        """Make a database and a virtual host."""
        self.mariadb = MariaDB().create()
        self.rabbitmq = RabbitMQ().create()
        return {
            "database__connection": self.mariadb.url,
            "messaging__transport_url": self.rabbitmq.url,
        }

    def stop_fixture(self) -> None:
        """Stop the lab and remove both."""
        super().stop_fixture()
        self.rabbitmq.drop()
        self.mariadb.drop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of every request."""
    driver.py_test_generator(
        GABBITS,
        intercept=intercept,
        fixture_module=sys.modules[__name__],
        test_loader_name="servers",
        metafunc=metafunc,
    )
