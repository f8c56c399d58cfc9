"""``pytest -p tests.again --again``: only files in which a test of the last run failed, whole."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--again``."""
    parser.addoption("--again", action="store_true", help="only files with tests that failed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files in which nothing failed."""
    if not config.getoption("again") or not collection_path.is_file():
        return None
    assert config.cache is not None
    failed = config.cache.get("cache/lastfailed", {})
    files = {config.rootpath / test.partition("::")[0] for test in failed}
    return None if collection_path in files else True
