"""Editing the Paste file changes what the API does, and nothing else has to."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import webob

from labapi.exceptions import ConfigError
from tests.lab import ROOT, Lab

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Callable[[str], webob.Response]]:
    """Return a function that builds the API from the text of a Paste file and asks for /slaves."""
    labs: list[Lab] = []

    def ask(text: str, path: str = "/v2.1/slaves") -> webob.Response:
        file = tmp_path / f"api-paste-{len(labs)}.ini"
        file.write_text(text)
        lab = Lab(tmp_path, api__paste_config=str(file)).start(agent=False)
        labs.append(lab)
        request = webob.Request.blank(path, remote_addr="127.0.0.1")
        return request.get_response(lab.app, catch_exc_info=True)

    yield ask
    for lab in labs:
        lab.stop()


def edited(before: str, after: str) -> str:
    assert before in SHIPPED
    return SHIPPED.replace(before, after)


@pytest.fixture
def shout() -> Iterator[None]:
    """Provide a filter that is written here, in a module of its own."""
    module = types.ModuleType("shouting")

    def filter_factory(global_conf, word="HELLO"):  # type: ignore[no-untyped-def]
        def wrap(app):  # type: ignore[no-untyped-def]
            def filtered(environ, start_response):  # type: ignore[no-untyped-def]
                def respond(status, headers, exc_info=None):  # type: ignore[no-untyped-def]
                    seen = "yes" if "labapi.context" in environ else "no"
                    added = [("X-Shout", word), ("X-Context-Seen", seen)]
                    return start_response(status, headers + added, exc_info)

                return app(environ, respond)

            return filtered

        return wrap

    module.filter_factory = filter_factory  # type: ignore[attr-defined]
    sys.modules["shouting"] = module
    yield
    del sys.modules["shouting"]


SECTION = "\n[filter:shout]\npaste.filter_factory = shouting:filter_factory\n"


def test_as_shipped(api: Callable[..., webob.Response]) -> None:
    response = api(SHIPPED)
    assert response.status_code == 200
    assert "X-Shout" not in response.headers
    assert response.headers["X-Openstack-Request-Id"].startswith("req-")


def test_add_a_filter(api: Callable[..., webob.Response], shout: None) -> None:
    text = edited("\n    context\n", "\n    context\n    shout\n") + SECTION
    response = api(text)
    assert (response.headers["X-Shout"], response.headers["X-Context-Seen"]) == ("HELLO", "yes")


def test_configure_a_filter(api: Callable[..., webob.Response], shout: None) -> None:
    text = edited("\n    context\n", "\n    context\n    shout\n") + SECTION + "word = bye\n"
    assert api(text).headers["X-Shout"] == "bye"


def test_move_a_filter(api: Callable[..., webob.Response], shout: None) -> None:
    text = edited("\n    request_id\n", "\n    shout\n    request_id\n") + SECTION
    assert api(text).headers["X-Context-Seen"] == "yes"  # the same environ, once it is set
    assert "X-Shout" in api(text, "/v2.1/nowhere").headers


def test_remove_a_filter(api: Callable[..., webob.Response]) -> None:
    response = api(edited("\n    request_id\n", "\n"))
    assert response.status_code == 200
    assert "X-Openstack-Request-Id" not in response.headers


def test_mount_it_elsewhere(api: Callable[..., webob.Response]) -> None:
    text = edited("/v2.1 = v2.1", "/lab/api = v2.1")
    assert api(text, "/lab/api/slaves").status_code == 200
    assert api(text, "/v2.1/slaves").status_code == 404


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("egg:labapi-middleware#sizelimit", "egg:labapi-middleware#sizelimt", "sizelimt"),
        ("max_request_body_size = 1048576", "max_request_body_size = big", "big"),
        ("max_request_body_size =", "max_body_size =", "max_request_body_size"),
        ("\n    context\n", "\n    contxt\n", "contxt"),
        ("[composite:main]", "[composite:other]", "main"),
        ("/ = root", "root = root", "prefix such as /v2.1"),
        ("[app:api]", "[app:api]\ncolor = red", "color"),
        ("[pipeline:root]", "[pipeline:root", "[pipeline"),
    ],
)
def test_mistakes_are_named(
    api: Callable[..., webob.Response], before: str, after: str, said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        api(edited(before, after))
    assert said in str(error.value)
