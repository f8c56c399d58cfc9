"""What is built is what was checked, whatever happens to the files meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from webob import Request

from labapi.api import load
from labapi.exceptions import ConfigError
from labapi.pipeline.build import Texts
from labapi.pipeline.check import options
from tests.lab import Lab
from tests.unit.pipeline.shipped import edited, said

OTHER = "[app:main]\nuse = egg:labapi#versions\n"
UNCHECKED = "[app:main]\nuse = egg:labapi#api\n"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path).start(agent=False)
    yield lab
    lab.stop()


def test_files_that_change_after_the_check(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = edited(("/ = root", "/ = root\n/other = config:other.ini"))
    path, other = tmp_path / "api-paste.ini", tmp_path / "other.ini"
    path.write_text(text)
    other.write_text(OTHER)
    check = options.check

    def edit_then_check(*args: object) -> object:
        path.write_text(UNCHECKED)
        other.unlink(missing_ok=True)
        return check(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(options, "check", edit_then_check)
    texts = Texts()
    load.load(lab.conf, lab.backend, path, texts)
    assert texts == {str(path): text, str(other): OTHER}


def test_a_folder_that_is_a_link(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "far" / "folder").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/folder")
    (tmp_path / "far" / "other.ini").write_text(OTHER)
    path = tmp_path / "api-paste.ini"
    path.write_text("[app:main]\nuse = config:link/../other.ini\n")
    assert load.examine(lab.conf, path).errors == ()
    load.load(lab.conf, lab.backend, path)


def test_no_path_of_any_file(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "api-paste.ini"
    path.write_text("[app:main]\nuse = config:a%%00/b.ini\n")
    with pytest.raises(ConfigError, match=r"\[app:main\]: use: a%00/b\.ini: .*null"):
        load.load(lab.conf, lab.backend, path)


def answer(app: Any, path: str) -> str:
    """Return what an application answers."""
    request = Request.blank(path, accept="application/json")
    return str(request.get_response(app).text)


def test_options_of_a_foreign_part_end_with_it(lab: Lab, tmp_path: Path) -> None:
    use = "egg:oslo.middleware#healthcheck"
    path = tmp_path / "api-paste.ini"
    ours = "egg:labapi#healthcheck\nrequired = database"
    path.write_text(edited((ours, use)))
    shipped = answer(load.load(lab.conf, lab.backend, path), "/healthcheck")
    path.write_text(edited((ours, f"{use}\ndetailed = true")))
    assert answer(load.load(lab.conf, lab.backend, path), "/healthcheck") != shipped
    path.write_text(edited((ours, f"{use}\nallowed_source_ranges = all")))
    with pytest.raises(ConfigError, match=r"\[app:healthcheck\]: use: .*'all' does not"):
        load.load(lab.conf, lab.backend, path)
    path.write_text(edited((ours, use)))
    assert answer(load.load(lab.conf, lab.backend, path), "/healthcheck") == shipped


def test_sections_that_come_to_very_many(tmp_path: Path) -> None:
    uses = "use = egg:labapi#urlmap\n"
    text = f"[composite:main]\n{uses}/ = 0\n"
    for n in range(40):
        text += f"[composite:{n}]\n{uses}/ = {n + 1}\n/x = {n + 1}\n"
    (found,) = said(f"{text}[app:40]\nuse = egg:labapi#versions\n", tmp_path)
    assert "more than 1000 sections are used" in found


FILTERS = (
    "[filter:small]\nuse = egg:labapi-middleware#sizelimit\nmax_request_body_size = 1\n"
    "[filter:id]\nuse = egg:labapi-middleware#request_id\n"
    "[app:v]\nuse = egg:labapi#versions\nfilter-with = id\n"
)


@pytest.mark.parametrize(
    "main",
    [
        "[pipeline:main]\npipeline = v\n",
        "[filter-app:main]\nuse = egg:labapi-middleware#faultwrap\nnext = v\n",
        "[app:main]\nuse = v\n",
        "[composite:main]\nuse = egg:labapi#urlmap\n/ = v\n",
    ],
)
def test_a_filter_with_whatever_is_behind_it(lab: Lab, tmp_path: Path, main: str) -> None:
    path = tmp_path / "api-paste.ini"
    path.write_text(f"{main}filter-with = small\n{FILTERS}")
    app = load.load(lab.conf, lab.backend, path)
    assert Request.blank("/").get_response(app).status_int == 200
    assert Request.blank("/", POST=b"22").get_response(app).status_int == 413
