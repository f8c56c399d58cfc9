"""Whatever a client says of itself in headers counts for nothing in the assembled API."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import bcrypt
import pytest
import webob

from tests.lab import ROOT, Lab
from tests.middleware.spoofing import spoofed

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()
VALUES = ("admin", "Confirmed", "all", "None", "admin,member,reader", "")


@pytest.fixture(scope="module", params=["noauth", "basic"])
def guarded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """Return a lab in which everybody is a reader, and nobody more."""
    folder = tmp_path_factory.mktemp("lab")
    text = SHIPPED.replace("    noauth\n", f"    {request.param}\n")
    text = text.replace("#noauth\n", "#noauth\nroles = reader\n")
    text = text.replace("/etc/labapi/htpasswd\n", f"{folder}/htpasswd\nroles = reader\n")
    password = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"alice:{password}\n")
    (folder / "api-paste.ini").write_text(text)
    lab = Lab(folder, api__paste_config=str(folder / "api-paste.ini")).start(agent=False)
    lab.login = request.param == "basic"  # type: ignore[attr-defined]
    yield lab
    lab.stop()


def status(lab: Lab, path: str, headers: dict[str, str], *, login: bool = True) -> int:
    request = webob.Request.blank(path, remote_addr="127.0.0.1")
    request.environ.update(headers)
    if login and lab.login:  # type: ignore[attr-defined]
        word = base64.b64encode(b"alice:wonderland").decode()
        request.environ["HTTP_AUTHORIZATION"] = f"Basic {word}"
    response = request.get_response(lab.app)
    if response.status_code >= 400:
        (fault,) = response.json.values()
        assert fault["code"] == response.status_code
    return int(response.status_code)


CLAIMS = [{key: value} for key in sorted(spoofed()) for value in VALUES]
CLAIMS += [dict.fromkeys(spoofed(), value) for value in VALUES]
CLAIMS += [spoofed()]


def test_claims_make_nobody_administrator(guarded: Lab) -> None:
    for headers in CLAIMS:
        assert status(guarded, "/v2.1/services", headers) == 403, headers
        assert status(guarded, "/v2.1/slaves", headers) == 200, headers


def test_claims_are_no_login(guarded: Lab) -> None:
    expected = 401 if guarded.login else 403  # type: ignore[attr-defined]
    for headers in CLAIMS:
        assert status(guarded, "/v2.1/services", headers, login=False) == expected, headers


def test_environ_keys_cannot_be_sent_as_headers(guarded: Lab) -> None:
    for name in ("LABAPI_CONTEXT", "LABAPI_AUTH", "KEYSTONE_TOKEN_INFO", "REMOTE_USER"):
        headers = {f"HTTP_{name}": "admin", f"HTTP_{name.replace('_', '.', 1)}": "admin"}
        assert status(guarded, "/v2.1/services", headers) == 403, headers
