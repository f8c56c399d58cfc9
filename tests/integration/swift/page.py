"""What docs/swift.md tells an operator to write: the suite runs with exactly that."""

from __future__ import annotations

import re

from tests.integration.swift.install import REPOSITORY


def documented() -> tuple[str, str]:
    """Return the pipeline line and the filter sections at the end of docs/swift.md."""
    page = (REPOSITORY / "docs" / "swift.md").read_text()
    block = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)[-1]
    pipeline = re.search(r"^pipeline = (.*)$", block, re.MULTILINE)
    assert pipeline is not None
    return pipeline[1], block[block.index("[filter:") :]
