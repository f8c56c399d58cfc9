"""No secret of a configuration is shown, wherever in its line the mistake is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import ROOT
from tests.programs import run

SECRET = "S3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"mysql+pymysql://labapi:{SECRET}/x@127.0.0.1:3306/labapi",
        f"mysql+pymysql://labapi:x@127.0.0.1:{SECRET}/labapi",
        f"mysql+pymysql://labapi:{SECRET}@127.0.0.1:1/labapi",
        f"mysql+pymysql://labapi@127.0.0.1:1/labapi?password={SECRET}",
        f"mysql+pymysql:/labapi:{SECRET}@127.0.0.1/labapi",
    ],
)
def test_a_mistake_in_the_url_of_the_database(tmp_path: Path, url: str) -> None:
    conf = tmp_path / "labapi.conf"
    conf.write_text(f"[DEFAULT]\nstate_path = {tmp_path}\n[database]\nconnection = {url}\n")
    done = run("labapi-manage", "--config-file", str(conf), "service", "list")
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert "database" in done.stderr


@pytest.mark.parametrize("name", ["password", "passwor", "pasword", "memcache_secrt_ky", "tokn"])
def test_a_mistake_in_the_name_of_a_secret_option(tmp_path: Path, name: str) -> None:
    shipped = (ROOT / "etc" / "api-paste.ini").read_text()
    assert "\npassword = secret\n" in shipped
    paste = tmp_path / "api-paste.ini"
    paste.write_text(
        shipped.replace("\npassword = secret\n", f"\n{name} = {SECRET}\n").replace(
            "    noauth\n", "    keystone\n"
        )
    )
    done = run("labapi-manage", "pipeline", "show", "--paste-config", str(paste), "-f", "value")
    assert f" {name} *** " in done.stdout
    assert SECRET not in done.stdout + done.stderr
