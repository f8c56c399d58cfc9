"""What the packaging files promise is there."""

from __future__ import annotations

from importlib.metadata import distribution, entry_points

import pytest

OURS = ("labapi", "labapi-middleware", "labapi-client")


def entries() -> list[object]:
    return [entry for name in OURS for entry in distribution(name).entry_points]


@pytest.mark.parametrize("entry", entries(), ids=lambda e: f"{e.group}:{e.name}")
def test_every_entry_point_loads(entry) -> None:  # type: ignore[no-untyped-def]
    if entry.value.startswith("labapi.cmd.api:"):
        pytest.skip("importing it patches the whole process; test_programs starts it")
    if entry.name == "swift":
        pytest.skip("it needs Swift; the Swift suite loads it")
    loaded = entry.load()
    # A plugin of openstackclient is a module, which says what it brings.
    assert callable(loaded) or callable(loaded.build_option_parser)


def test_all_distributions_have_one_version() -> None:
    assert len({distribution(name).version for name in OURS}) == 1


def test_what_the_design_names_is_registered() -> None:
    assert {e.name for e in entry_points(group="labapi.plugins") if e.dist.name == "labapi"} == {
        "linux_system",
        "build_server",
        "http",
    }
