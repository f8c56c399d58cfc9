"""Factories of others: what cannot be called, or raises, is named before the start."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.pipeline.shipped import edited, findings, said


def app_first(app: Any, global_conf: Any, **local_conf: str) -> Any:
    """Take the application first, as a ``filter_app_factory`` does."""
    return app


def no_arguments() -> Any:
    """Take nothing."""


def raising(global_conf: Any, **local_conf: str) -> Any:
    """Raise what nobody expects."""
    raise ValueError("no flag\x1b[2J\nat all")


def leaving(global_conf: Any, **local_conf: str) -> Any:
    """End the program."""
    sys.exit(3)


def giving_nothing(global_conf: Any, **local_conf: str) -> None:
    """Forget to return the filter."""


def greedy(global_conf: Any, *, word: str) -> Any:
    """Want a word."""
    return lambda app: app


@pytest.fixture(autouse=True)
def module() -> Iterator[None]:
    """Provide them as a module that a file can name."""
    lab = types.ModuleType("lab_filters")
    vars(lab).update(globals())
    sys.modules["lab_filters"] = lab
    yield
    del sys.modules["lab_filters"]


SECTION = "\n[filter:ours]\n"
NAMED = "[filter:ours]: "
MISTAKES = {
    "a module": (
        "use = call:labapi_middleware:sizelimit",
        "use: 'call:labapi_middleware:sizelimit' is not a factory, but of the type module",
    ),
    "a text": ("use = call:lab_filters:NAMED", "use: 'call:lab_filters:NAMED' is not a factory"),
    "no arguments": (
        "use = call:lab_filters:no_arguments",
        "use: call:lab_filters:no_arguments is not a factory: Paste calls it with (global_conf,"
        " **options)",
    ),
    "the application first": (
        "use = call:lab_filters:app_first",
        "use: call:lab_filters:app_first takes the application first; such a factory is named with"
        " 'paste.filter_app_factory = module:attribute'",
    ),
    "an exception": (
        "paste.filter_factory = lab_filters:raising",
        "paste.filter_factory: lab_filters:raising cannot be built (ValueError: no"
        " flag\\x1b[2J at all)",
    ),
    "an end": (
        "use = call:lab_filters:leaving",
        "use: call:lab_filters:leaving cannot be built (SystemExit: 3)",
    ),
    "nothing": (
        "use = call:lab_filters:giving_nothing",
        "use: call:lab_filters:giving_nothing gives no function that takes an application",
    ),
    "a word that is missing": ("use = call:lab_filters:greedy", "word: this option is required"),
    "what has to be installed": (
        "use = call:lab_filters:greedy\nword = a\nrequire = no-such-thing",
        "require: the distribution 'no-such-thing' is not installed",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake(tmp_path: Path, name: str) -> None:
    section, expected = MISTAKES[name]
    text = edited(("\n    context\n", "\n    context\n    ours\n")) + SECTION + section + "\n"
    (found,) = said(text, tmp_path)
    assert found.startswith(NAMED + expected)
    assert all(finding.fatal for finding in findings(text, tmp_path))


def test_the_application_first_is_fine_where_it_is_expected(tmp_path: Path) -> None:
    text = edited(("\n    context\n", "\n    context\n    ours\n")) + SECTION
    assert said(f"{text}paste.filter_app_factory = lab_filters:app_first\n", tmp_path) == []


def test_call_in_a_pipeline(tmp_path: Path) -> None:
    text = edited(("\n    context\n", "\n    context\n    call:lab_filters:greedy\n"))
    assert "call: works in a section [filter:…] only" in "".join(said(text, tmp_path))


def keystone(*changes: tuple[str, str]) -> str:
    return edited(("\n    noauth\n", "\n    keystone\n"), *changes)


K = "[filter:keystone]: "
OPTIONS = (
    edited().partition("keystonemiddleware.auth_token:filter_factory\n")[2].partition("\n\n")[0]
)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("auth_url = http://127.0.0.1:5000/v3\n", ""), [f"{K}auth_url: this option is required"]),
        (("auth_url =", "auth_ulr ="), [f"{K}auth_ulr: there is no such option; did you mean"]),
        (("auth_type = password\n", ""), [f"{K}auth_type: this option is required: how the filt"]),
        ((OPTIONS, ""), [f"{K}auth_type: this option is required: how the filter logs in"]),
        (("auth_type = password\n", "auth_type = v3password\n"), []),
        (
            ("token_cache_time = 60", "memcache_security_strategy = MAC"),
            [f"{K}paste.filter_factory: keystonemiddleware.auth_token:filter_factory cannot be"],
        ),
    ],
)
def test_keystone(tmp_path: Path, change: tuple[str, str], expected: list[str]) -> None:
    found = said(keystone(change), tmp_path)
    assert len(found) == len(expected)
    assert all(line.startswith(text) for line, text in zip(found, expected, strict=True)), found


def test_keystone_with_a_cache_that_has_no_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "memcache", None)
    change = ("token_cache_time = 60", "token_cache_time = 60\nmemcached_servers = 127.0.0.1:11211")
    (found,) = said(edited(("\n    noauth\n", "\n    keystone\n"), change), tmp_path)
    assert found.startswith("[filter:keystone]: memcached_servers: this needs the distribution")


def test_the_address_of_the_server_is_what_the_server_says(tmp_path: Path) -> None:
    """[DEFAULT] cannot hide it: Paste takes the program's."""
    text = edited(("[composite:main]", "[DEFAULT]\nlisten = 127.0.0.1:1\n[composite:main]"))
    from labapi.pipeline.check import check

    file = tmp_path / "api-paste.ini"
    file.write_text(text)
    (found,) = check.examine(str(file), {"listen": "0.0.0.0:8774"}).errors
    assert "the API listens on 0.0.0.0:8774" in str(found)


def test_what_a_section_sets_stays_set_for_who_uses_it(tmp_path: Path) -> None:
    text = edited(
        ("[composite:main]", "[DEFAULT]\ninsecure_allow_remote = false\n[composite:main]"),
        (
            "[filter:noauth]\nuse = egg:labapi-middleware#noauth\n",
            "[filter:noauth]\nuse = open\n[filter:open]\nuse = egg:labapi-middleware#noauth\n"
            "set insecure_allow_remote = true\n",
        ),
    )
    from labapi.pipeline.check import check

    file = tmp_path / "api-paste.ini"
    file.write_text(text)
    assert check.examine(str(file), {"listen": "0.0.0.0:8774"}).errors == ()
