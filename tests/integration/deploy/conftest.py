"""The lab of ``docs/deploy.md``, made by typing the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.deploy.machines import machines
from tests.integration.deploy.typist import NAMES, Typist


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Typist]:
    folder = tmp_path_factory.mktemp("deploy")
    with machines(folder, NAMES) as made:
        typist = Typist(made, folder)
        typist.set_up()
        yield typist
