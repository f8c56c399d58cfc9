"""The two distributions do not import each other: the names that they share are written twice."""

from __future__ import annotations

import labapi_middleware.contract
import labapi_middleware.environ
import labapi_middleware.faults
from labapi import context
from labapi.api import faults
from labapi.pipeline import contract


def strings(module: object) -> dict[str, str]:
    """Return the constants of a module that are text."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str)
    }


def test_environ_keys_are_those_of_the_filters() -> None:
    ours, theirs = strings(context), strings(labapi_middleware.environ)
    assert ours
    assert ours == {name: theirs[name] for name in ours}


def test_fault_names_are_those_of_the_filters() -> None:
    assert faults.NAMES == labapi_middleware.faults.FAULT_NAMES


def test_what_filters_give_is_called_the_same() -> None:
    assert strings(contract) == strings(labapi_middleware.contract)
