"""Backends for every test that asks for a database or a broker."""

from tests.backends import database, transport  # noqa: F401
