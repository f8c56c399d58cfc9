"""The pipelines of docs/pipeline.md are whole files: the API starts with them as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import webob

from tests.lab import ROOT, Lab
from tests.unit.pipeline.shipped import findings

PAGE = (ROOT / "docs" / "pipeline.md").read_text()
PIPELINES = [
    block
    for block in re.findall(r"^```ini\n(.*?)^```", PAGE, re.M | re.S)
    if block.startswith("[pipeline:main]")
]


@pytest.fixture
def maintenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the filter that the page writes."""
    (module,) = re.findall(r"^```python\n(# lab_maintenance.py\n.*?)^```", PAGE, re.M | re.S)
    installed = tmp_path / "installed"
    about = installed / "lab_maintenance-1.0.dist-info"
    about.mkdir(parents=True)
    (installed / "lab_maintenance.py").write_text(module)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-maintenance\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[paste.filter_factory]\nmaintenance = lab_maintenance:filter_factory\n"
    )
    monkeypatch.syspath_prepend(str(installed))


@pytest.mark.parametrize("block", PIPELINES, ids=lambda block: block.split("\n")[1])
def test_a_pipeline_starts_as_it_stands(tmp_path: Path, maintenance: None, block: str) -> None:
    assert not [finding for finding in findings(block, tmp_path) if finding.fatal]
    lab = Lab(tmp_path, api__paste_config=str(tmp_path / "api-paste.ini")).start(agent=False)
    try:
        if re.search(r"^pipeline = .* api$", block, re.M):
            request = webob.Request.blank("/slaves", remote_addr="127.0.0.1")
            assert request.get_response(lab.app).json == {}
    finally:
        lab.stop()


def test_the_lines_that_the_page_shows_are_said(tmp_path: Path) -> None:
    """The number of a line aside, which changes with the file."""
    shipped = (ROOT / "etc" / "api-paste.ini").read_text()
    (block,) = re.findall(r"^```\n(/etc/labapi/api-paste.ini: .*?)^```", PAGE, re.M | re.S)
    shown = [re.sub(r"line \d+", "line N", line) for line in block.splitlines()]
    misspelt = shipped.replace("max_request_body_size =", "max_request_body_sise =")
    edits = (
        misspelt.replace("\n    context\n", "\n"),
        shipped.replace("\nrule_all =", "\n rule_all ="),
    )
    said = {
        re.sub(r"line \d+", "line N", str(finding)).replace(str(tmp_path), "/etc/labapi")
        for text in edits
        for finding in findings(text, tmp_path)
    }
    assert said == set(shown)
