"""The client with a real Keystone: found in its catalogue, and believed by its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import labapi_client
from labapi_client import exceptions
from labapi_client.exchange import Exchange
from tests.integration.keystone.client import Client
from tests.integration.keystone.server import Keystone

PASSWORD = {
    "OS_USERNAME": "alice",
    "OS_PASSWORD": "alicepw",
    "OS_PROJECT_NAME": "alpha",
    "OS_USER_DOMAIN_ID": "default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
}


@pytest.fixture(scope="module", autouse=True)
def catalogued(keystone: Keystone, lab: Client) -> Iterator[None]:
    """Have the lab stand in Keystone's catalogue."""
    service = {"type": "test-lab", "name": "labapi", "enabled": True}
    made = keystone.admin("POST", "/services", {"service": service})
    endpoint = {
        **{"service_id": made["id"], "interface": "public", "region_id": "lab"},
        "url": f"http://127.0.0.1:{lab.port}",
    }
    keystone.admin("POST", "/endpoints", {"endpoint": endpoint})
    yield
    keystone.admin("DELETE", f"/services/{made['id']}")


@pytest.fixture(autouse=True)
def environment(keystone: Keystone, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**PASSWORD, "OS_AUTH_URL": keystone.url}.items():
        monkeypatch.setenv(name, value)


def test_a_case_by_password_and_catalogue(lab: Client) -> None:
    with labapi_client.connect() as client:
        (slave,) = client.slaves.list()
        run = client.testcases.run(
            *("linux_system", "run_shell", slave.host), {"command": "echo", "args": ["hello"]}
        )
        assert b"".join(run) == b"hello\n"
        assert run.case.result == "PASS"
        assert client.url == f"http://127.0.0.1:{lab.port}/v2.1"


def test_a_token_that_is_taken_back_is_renewed(keystone: Keystone, lab: Client) -> None:
    seen: list[Exchange] = []
    with labapi_client.connect(debug=seen.append) as client:
        assert list(client.slaves.list())
        keystone.revoke(client._transport._way.identity.headers()["X-Auth-Token"])
        # Until labapi asks Keystone again, it goes on believing the token.
        while 401 not in [exchange.status for exchange in seen]:
            assert list(client.slaves.list())
    assert [exchange.status for exchange in seen][-2:] == [401, 200]
    assert {exchange.headers["X-Auth-Token"] for exchange in seen} == {"***"}


def test_an_application_credential_in_clouds_yaml(
    keystone: Keystone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = application_credential(keystone)
    clouds = {
        "lab": {
            "auth_type": "v3applicationcredential",
            "auth": {"auth_url": keystone.url, "application_credential_id": credential["id"]},
            "region_name": "lab",
        }
    }
    secret = {"lab": {"auth": {"application_credential_secret": credential["secret"]}}}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": clouds}))
    (tmp_path / "secure.yaml").write_text(json.dumps({"clouds": secret}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    with labapi_client.connect(cloud="lab") as client:
        assert list(client.slaves.list())
    with pytest.raises(exceptions.BadConfiguration, match="no cloud 'lob'; known: lab"):
        labapi_client.connect(cloud="lob")


def application_credential(keystone: Keystone) -> dict[str, str]:
    import requests

    token = keystone.token("alice", "alicepw", "alpha")
    headers = {"X-Auth-Token": token, "X-Subject-Token": token}
    me = requests.get(f"{keystone.url}/auth/tokens", headers=headers, timeout=180).json()
    answer = requests.post(
        f"{keystone.url}/users/{me['token']['user']['id']}/application_credentials",
        json={"application_credential": {"name": "ci"}},
        headers=headers,
        timeout=180,
    )
    answer.raise_for_status()
    return dict(answer.json()["application_credential"])


def test_a_token_that_somebody_else_got(
    keystone: Keystone, lab: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{lab.port}"
    with labapi_client.connect(url, token=lab.tokens["alice"]) as client:
        assert list(client.slaves.list())
    with labapi_client.connect(url) as client, pytest.raises(exceptions.Unauthorized):
        list(client.slaves.list())
    monkeypatch.setenv("OS_AUTH_TYPE", "v3token")
    monkeypatch.setenv("OS_TOKEN", lab.tokens["alice"])
    with labapi_client.connect() as client:
        assert list(client.slaves.list())


def test_a_reader_may_not_run_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OS_USERNAME", "rita")
    monkeypatch.setenv("OS_PASSWORD", "ritapw")
    with labapi_client.connect() as client:
        (slave,) = client.slaves.list()
        with pytest.raises(exceptions.Forbidden, match="req-"):
            client.testcases.create("linux_system", "run_shell", slave.host, {"command": "true"})


@pytest.mark.parametrize(
    ("name", "value", "kind", "says"),
    [
        ("OS_PASSWORD", "secret", exceptions.Unauthorized, "Keystone: The request you have made"),
        ("OS_AUTH_URL", "http://127.0.0.1:1/v3", exceptions.ConnectionFailed, "cannot be reached"),
        ("OS_REGION_NAME", "moon", exceptions.BadConfiguration, "no service of the type test-lab"),
        ("OS_AUTH_TYPE", "no-such", exceptions.BadConfiguration, "OS_AUTH_URL: .*no-such"),
    ],
)
def test_what_cannot_work_says_why(
    name: str, value: str, kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(kind, match=says) as caught:
        list(labapi_client.connect().slaves.list())
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
