"""Where the lab is and who asks."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import labapi_client
from labapi_client import clouds
from labapi_client.configuration import Given, Way, resolve
from labapi_client.exceptions import BadConfiguration


def who(way: Way) -> str | None:
    """Return what a way says of who asks, by HTTP's basic authentication."""
    sent = way.identity.headers().get("Authorization")
    return base64.b64decode(sent.removeprefix("Basic ")).decode() if sent else None


def test_without_anything_it_is_the_lab_on_this_machine() -> None:
    way = resolve(Given(), {})
    assert (way.url(), way.identity.headers()) == ("http://127.0.0.1:8774/v2.1", {})
    assert labapi_client.connect().url == "http://127.0.0.1:8774/v2.1"


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("http://lab", "http://lab/v2.1"),
        ("http://lab:8774/", "http://lab:8774/v2.1"),
        ("https://lab/api/v2.1/", "https://lab/api/v2.1"),
        ("http://[::1]:8774/v2.1", "http://[::1]:8774/v2.1"),
    ],
)
def test_the_version_may_be_in_the_url(url: str, api: str) -> None:
    assert resolve(Given(url), {}).url() == api


@pytest.mark.parametrize(
    "url",
    [
        *("lab", "lab:8774", "ftp://lab", "http://", "http://lab?x=1", "//x"),
        *("http://[", "http://lab:99999", "http://lab:port", "http://lab:0"),
    ],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(BadConfiguration, match="is not the URL of a lab"):
        resolve(Given(url), {})


@pytest.mark.parametrize(
    "url",
    ["http://u:secret@lab", "u:secret@lab:8774", "http://u:secret@[", "http://lab?k=secret"],
)
def test_a_url_holds_no_password(url: str) -> None:
    with pytest.raises(BadConfiguration) as caught:
        resolve(Given(url), {})
    assert "secret" not in str(caught.value)


def test_blanks_around_a_url_are_nothing() -> None:
    assert resolve(Given(" http://lab:1 "), {}).url() == "http://lab:1/v2.1"


ENV = {
    "LABAPI_URL": "http://lab:1/",
    "LABAPI_USERNAME": "alice",
    "LABAPI_PASSWORD": "pä:ss",
    "LABAPI_CACERT": "/ca.pem",
    "OS_CLOUD": "other",
}


def test_the_environment() -> None:
    way = resolve(Given(), ENV)
    assert (way.url(), who(way), way.verify) == ("http://lab:1/v2.1", "alice:pä:ss", "/ca.pem")


def test_arguments_come_first() -> None:
    given = Given("http://lab:2", username="bob", password="pw", cacert="/other.pem")
    way = resolve(given, ENV)
    assert (way.url(), who(way), way.verify) == ("http://lab:2/v2.1", "bob:pw", "/other.pem")
    assert resolve(Given(token="t"), ENV).identity.headers() == {"X-Auth-Token": "t"}


def test_a_password_goes_to_no_other_lab() -> None:
    assert who(resolve(Given("http://elsewhere:1"), ENV)) is None
    assert who(resolve(Given("http://lab:1/v2.1"), ENV)) == "alice:pä:ss"
    unnamed = {name: value for name, value in ENV.items() if name != "LABAPI_URL"}
    assert who(resolve(Given("http://elsewhere:1"), unnamed)) == "alice:pä:ss"


@pytest.mark.parametrize("missing", ["LABAPI_USERNAME", "LABAPI_PASSWORD"])
def test_half_of_an_identity(missing: str) -> None:
    env = {name: value for name, value in ENV.items() if name != missing}
    with pytest.raises(BadConfiguration, match="give both") as caught:
        resolve(Given(), env)
    assert "pä:ss" not in str(caught.value)


def test_no_secret_is_shown() -> None:
    given = Given(password="secret", token="secret")
    assert "secret" not in repr(given) + repr(resolve(given, {}))
    assert "secret" not in repr(clouds.Cloud(auth={"password": "secret"}))


CLOUDS = """
clouds:
  lab:
    auth_type: v3password
    auth: {auth_url: "https://keystone/v3", username: alice, user_domain_id: default}
    region_name: north
    interface: internal
    cacert: /ca.pem
    test_lab_endpoint_override: https://lab/
  careless: {auth: {auth_url: x}, verify: false, cert: /c.pem, key: /k.pem}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clouds.yaml").write_text(CLOUDS)
    (tmp_path / "secure.yaml").write_text("clouds: {lab: {auth: {password: 'pä:ss'}}}")
    return tmp_path


def env(folder: Path) -> dict[str, str]:
    return {"OS_CLIENT_CONFIG_FILE": str(folder / "clouds.yaml")}


def test_a_cloud_with_its_secrets(folder: Path) -> None:
    cloud = clouds.load("lab", env(folder))
    assert (cloud.auth["username"], cloud.auth["password"]) == ("alice", "pä:ss")
    assert (cloud.auth_type, cloud.region_name, cloud.interface) == (
        "v3password",
        "north",
        "internal",
    )
    assert (cloud.verify, cloud.endpoint) == ("/ca.pem", "https://lab/")
    assert "pä:ss" not in repr(cloud)
    careless = clouds.load("careless", env(folder))
    assert (careless.verify, careless.cert) == (False, ("/c.pem", "/k.pem"))


def test_the_url_of_a_cloud_needs_no_keystone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(folder / "clouds.yaml"))
    assert labapi_client.connect(cloud="lab").url == "https://lab/v2.1"
    assert labapi_client.connect("http://near", cloud="lab").url == "http://near/v2.1"


def test_a_folder_of_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "openstack").mkdir()
    (folder / "clouds.yaml").rename(folder / "openstack" / "clouds.yml")
    monkeypatch.chdir(folder)
    assert clouds.load("lab", {"XDG_CONFIG_HOME": str(folder)}).auth["username"] == "alice"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clouds: [", "is not YAML, line 1"),
        ("clouds: {lab: secret}", "expected clouds"),
        ("[]", "expected clouds"),
        ("clouds: {other: {}}", "no cloud 'lab'; known: other"),
        ("clouds: {lab: {auth: secret}}", "auth: expected options"),
        ("\x00", "is not YAML"),
    ],
)
def test_clouds_that_cannot_be_read(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "clouds.yaml").write_text(text)
    with pytest.raises(BadConfiguration, match=says) as caught:
        clouds.load("lab", env(tmp_path))
    assert "secret" not in str(caught.value)


def test_there_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadConfiguration, match=r"no clouds\.yaml"):
        clouds.load("lab", {"XDG_CONFIG_HOME": str(tmp_path)})


def test_an_empty_url_names_no_lab() -> None:
    env = {"LABAPI_URL": "", "OS_CLOUD": "x", "OS_CLIENT_CONFIG_FILE": "/no/such/clouds.yaml"}
    with pytest.raises(BadConfiguration, match="cloud 'x'"):
        resolve(Given(), env)


def test_the_variables_of_openstack() -> None:
    cloud = clouds.from_environment(
        {"OS_AUTH_URL": "u", "OS_USERNAME": "a", "OS_REGION_NAME": "r", "OS_INSECURE": "true"}
    )
    assert (cloud.auth["auth_url"], cloud.auth["username"]) == ("u", "a")
    assert (cloud.auth_type, cloud.region_name, cloud.verify) == ("password", "r", False)
