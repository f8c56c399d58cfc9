"""docs/scheduler.md: the distribution that it writes is built, installed and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from labapi import config
from labapi.scheduler import driver
from labapi.scheduler.requirements import MAX_SENTENCE, MAX_SENTENCES, MAX_VALUES, parse
from tests.lab import ROOT
from tests.unit.scheduler.hosts import host, names, request, scheduler, table

PAGE = (ROOT / "docs" / "scheduler.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_column(heading: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", section(heading), re.M)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build and install what the page writes."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for block in blocks("python"):
        (source / re.match(r"# (\S+)\n", block)[1]).write_text(block)
    assert sorted(os.listdir(source)) == ["lab_seasons.py", "setup.py"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    local = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(target)]
    subprocess.run([*pip, *local, str(source)], check=True, timeout=300)
    monkeypatch.syspath_prepend(str(target))


def configured(block: str, folder: Path) -> driver.Driver:
    (folder / "labapi.conf").write_text(block)
    conf = config.new()
    conf([], project="labapi", default_config_files=[str(folder / "labapi.conf")])
    return driver.load(conf)


def test_another_distribution_brings_one_of_each(installed: None, tmp_path: Path) -> None:
    found = configured(blocks("ini")[-1], tmp_path)
    hosts = table(
        {
            "h-1": {"facts": {"celsius": 80}, "metadata": {"bought": "2026"}},
            "h-2": {"facts": {"celsius": 20}, "metadata": {"bought": "2010"}},
            "h-3": {"metadata": {"bought": "2025"}},
        }
    )
    explained = found.explain(request(), hosts)
    assert names(explained.hosts) == ["h-3", "h-2"]  # the young one first
    assert explained.turned_away == {"cool": 1}
    assert explained.lacks == ["cool: it has 80 °C"]
    # One after the other, by their names.
    assert names(found.select(request(), hosts, count=6)) == ["h-2"] * 4 + ["h-3"] * 2


def test_the_option_of_ip_prefix_works_as_it_stands(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("ini") if "driver = ip_prefix" in block]
    found = configured(block, tmp_path)
    assert found.why_not(request(client="10.2.0.1"), host("ops-1")) is None
    assert found.why_not(request(client="10.1.0.1"), host("ops-1"))


def test_the_page_has_every_driver_filter_and_weigher() -> None:
    defaults = scheduler().conf.scheduler
    for heading in ("Drivers", "Filters", "Weighers"):
        points = metadata.entry_points(group=f"labapi.scheduler.{heading.lower()}")
        ours = {point.name for point in points if point.value.startswith("labapi.")}
        assert set(first_column(heading)) == ours
    assert first_column("Filters") == defaults.filters
    multipliers = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", section("Weighers"), re.M))
    assert {name: float(text) for name, text in multipliers.items()} == {
        name: float(text) for name, text in defaults.weighers.items()
    }


def test_the_sentences_of_the_page_can_be_read() -> None:
    for sentence in first_column("Sentences"):
        parse(sentence)
    bounds = section("Sentences")
    assert f"at most {MAX_SENTENCES} sentences, a sentence {MAX_SENTENCE} characters" in bounds
    assert f"brackets {MAX_VALUES} values" in bounds
