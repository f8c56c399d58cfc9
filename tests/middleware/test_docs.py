"""docs/pipeline.md: its examples run, and no option is missing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import bcrypt
import pytest
from paste.deploy import loadapp

from labapi_middleware import environ as environ_keys
from tests.middleware import servers
from tests.middleware.conftest import Answer, call, environ, plain

PAGE = Path(__file__).parents[2] / "docs" / "pipeline.md"
README = Path(__file__).parents[2] / "middleware" / "README.md"
# These have a page of their own.
ELSEWHERE = {"ip_whitelist", "swift"}
# What a request without a login or token gets; 200 where none is needed.
STATUS = {"basic": 401, "keystone": 401, "context": 401}
NEEDS = {"cors": "oslo_middleware", "keystone": "keystonemiddleware"}


def api(global_conf, **local_conf):
    """Stand in for the API, as a ``paste.app_factory``."""
    return plain()


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


EXAMPLES = [
    (heading, number, block)
    for heading, text in sections().items()
    if heading != "Write your own filter"
    for number, block in enumerate(blocks("ini", text))
]


def prepared(block: str, folder: Path) -> Path:
    """Write an example to a file that can be loaded here: with an API, and folders that exist."""
    for name in ("etc", "run", "log"):
        (folder / name).mkdir()
    (folder / "run" / "metrics").mkdir()
    password = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
    (folder / "etc" / "htpasswd").write_text(f"alice:{password}\nci:{password}\n")
    for path, here in (
        ("/etc/labapi", folder / "etc"),
        ("/run/labapi", folder / "run"),
        ("/var/log/labapi", folder / "log"),
        ("127.0.0.1:6379", f"127.0.0.1:{servers.free_port()}"),
        ("127.0.0.1:5000", f"127.0.0.1:{servers.free_port()}"),
    ):
        block = block.replace(path, str(here))
    if "[pipeline:" not in block:
        (name,) = re.findall(r"^\[filter:(.+)\]$", block, flags=re.MULTILINE)
        block += f"\n[pipeline:main]\npipeline = {name} api\n"
    block = block.replace("[app:api]\nuse = egg:labapi#api\n", "")
    block += f"\n[app:api]\npaste.app_factory = {__name__}:api\n"
    file = folder / "api-paste.ini"
    file.write_text(block)
    return file


def sent(file: Path | str, **request: object) -> Answer:
    app = loadapp(f"config:{file}", global_conf={"listen": "127.0.0.1:8774"})
    return call(app, environ(**request))


@pytest.mark.parametrize(
    ("heading", "number", "block"), EXAMPLES, ids=[f"{h}-{n}" for h, n, _ in EXAMPLES]
)
def test_an_example_works(heading, number, block, tmp_path, monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    for name, module in NEEDS.items():
        if f"[filter:{name}]" in block:
            pytest.importorskip(module)
    if heading == "metrics":
        # Keeping numbers in files is for a whole process, so it is one of its own.
        file = prepared(block, tmp_path)
        code = f"import sys; from {__name__} import sent; print(sent(sys.argv[1], path='/').status)"
        command = [sys.executable, "-c", code, str(file)]
        assert subprocess.check_output(command, cwd=PAGE.parents[1], text=True) == "200\n"
        return
    answer = sent(prepared(block, tmp_path))
    assert answer.status == STATUS.get(heading, 200)


def test_an_example_lets_alice_in(tmp_path):
    (block,) = blocks("ini", sections()["basic"])
    login = {"Authorization": "Basic YWxpY2U6d29uZGVybGFuZA=="}
    assert sent(prepared(block, tmp_path), headers=login).status == 200


FILTERS = [
    entry
    for entry in importlib.metadata.distribution("labapi-middleware").entry_points
    if entry.group == "paste.filter_factory" and entry.name not in ELSEWHERE
]


@pytest.mark.parametrize("entry", FILTERS, ids=lambda entry: entry.name)
def test_no_option_is_missing(entry):
    text = sections()[entry.name]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (?:`([^`]*)`)? ?\|", text, flags=re.MULTILINE))
    options = {option.name: option.default for option in entry.load().options}
    assert rows == options
    example = ConfigParser(interpolation=None)
    example.read_string(blocks("ini", text)[0])
    written = example[f"filter:{entry.name}"]
    for name in options:
        assert any(re.fullmatch(name.replace("*", ".+"), given) for given in written), name


def test_every_filter_has_a_section_in_the_order_of_the_pipeline():
    (block, *_) = blocks("ini", sections()["The order"])
    order = re.search(r"^pipeline = (.*)$", block, flags=re.MULTILINE)[1].split()
    headings = [heading for heading in sections() if heading in order]
    assert headings == [name for name in order if name != "api"]
    assert {entry.name for entry in FILTERS} <= sections().keys()


def test_the_readme_names_every_filter():
    rows = re.findall(r"^\| (`\w+`.*?) \|", README.read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert {entry.name for entry in FILTERS} | {"ip_whitelist"} <= named


def test_the_readme_describes_every_key_of_the_environ():
    keys = {key for key in vars(environ_keys).values() if str(key).startswith("labapi.")}
    described = set(re.findall(r"^\| `(labapi\.\w+)` \|", README.read_text(), flags=re.MULTILINE))
    assert described == keys


def test_the_page_on_writing_a_filter_ends_with_a_working_one(tmp_path, monkeypatch):
    text = sections()["Write your own filter"]
    source, target, config = (tmp_path / name for name in ("source", "target", "config"))
    source.mkdir()
    config.mkdir()
    for block in blocks("python", text):
        name = re.match(r"# (\S+)\n", block)[1]
        (source / name).write_text(block)
    assert sorted(os.listdir(source)) == ["lab_maintenance.py", "setup.py"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    local = ["--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    subprocess.run([*pip, *local, source], check=True)
    monkeypatch.syspath_prepend(str(target))
    (block,) = blocks("ini", text)
    file = prepared(block, config)
    assert sent(file).status == 200
    (config / "run" / "maintenance").touch()
    answer = sent(file)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "600"
    name, fault = answer.fault
    assert (name, fault["message"]) == ("serviceUnavailable", "The lab is in maintenance.")
    assert fault["request_id"] == answer.headers["X-Openstack-Request-Id"]
    file.write_text(file.read_text().replace("retry_after", "retry_aftre"))
    with pytest.raises(ValueError, match="did you mean 'retry_after'"):
        sent(file)
