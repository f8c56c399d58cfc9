"""An attacker between labapi and a server gets neither password nor messages."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from limits import parse

from labapi import config
from labapi.db.session import Database
from labapi.exceptions import ConfigError
from labapi.rpc.transport import Transport
from labapi.servicegroup.tooz import Tooz
from labapi_middleware.filter import OptionError
from labapi_middleware.ratelimit import filter_factory
from labapi_middleware.ratelimit.storage import TLSFiles, open_storage
from tests.integration.tls_servers import Certificate, TLSMariaDB, TLSRabbitMQ, TLSRedis

CA = trustme.CA()
OTHER_CA = trustme.CA()
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)

CERTIFICATES = {
    "a wrong name": lambda: CA.issue_cert("evil.example"),
    "a wrong issuer": lambda: OTHER_CA.issue_cert("127.0.0.1"),
    "an expired one": lambda: CA.issue_cert("127.0.0.1", not_after=LONG_AGO),
}


@dataclass(frozen=True)
class Way:
    """A way to a server.

    :ivar server: can show another certificate
    :ivar use: connects and does something, with these files
    """

    server: Any
    use: Callable[[dict[str, str]], object]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="labapi-tls-"))
    made.chmod(0o755)  # the servers run as users of their own
    for name, ca in (("ca", CA), ("other-ca", OTHER_CA)):
        (made / name).write_bytes(ca.cert_pem.bytes())
    (made / "client").write_bytes(
        CA.issue_cert("client.example").private_key_and_cert_chain_pem.bytes()
    )
    yield made
    shutil.rmtree(made)


def conf(**options: Any) -> Any:
    made = config.new(**options)
    made([], project="labapi", default_config_files=[])
    return made


def broker(server: TLSRabbitMQ) -> Callable[[dict[str, str]], object]:
    def use(files: dict[str, str]) -> None:
        named = {f"messaging__{name}": file for name, file in files.items()}
        options = {"messaging__transport_url": server.tls_url, "messaging__connect_timeout": 60.0}
        with Transport(conf(**options, **named)).connect(heartbeat=False) as connection:
            connection.channel().close()

    return use


def database(server: TLSMariaDB) -> Callable[[dict[str, str]], object]:
    def use(files: dict[str, str]) -> None:
        named = {f"database__{name}": file for name, file in files.items()}
        opened = Database(conf(database__connection=server.url, **named))
        try:
            cipher = opened.read(
                lambda connection: connection.exec_driver_sql(
                    "SHOW SESSION STATUS LIKE 'Ssl_cipher'"
                ).one()[1]
            )
            assert cipher
        finally:
            opened.close()

    return use


def ratelimit(server: TLSRedis) -> Callable[[dict[str, str]], object]:
    def use(files: dict[str, str]) -> None:
        tls = TLSFiles(files["ca_file"], files.get("cert_file"))
        storage = open_storage(f"rediss://127.0.0.1:{server.port}/0", 60.0, tls)
        storage.incr(parse("1/minute").key_for("x"), 1)

    return use


def liveness(server: TLSRedis) -> Callable[[dict[str, str]], object]:
    def use(files: dict[str, str]) -> None:
        named = {f"servicegroup__{name}": file for name, file in files.items()}
        url = f"redis://127.0.0.1:{server.port}"
        driver = Tooz(conf(servicegroup__backend_url=url, **named))
        made: Any = driver._coordinator
        # Its client alone: start() tries fifteen times before it says what is wrong.
        made._make_client(made._parsed_url, made._options, 60).ping()

    return use


KINDS: dict[str, tuple[Any, Callable[[Any], Callable[[dict[str, str]], object]]]] = {
    "broker": (TLSRabbitMQ, broker),
    "database": (TLSMariaDB, database),
    "ratelimit": (TLSRedis, ratelimit),
    "liveness": (TLSRedis, liveness),
}


@pytest.fixture(scope="module", params=KINDS)
def way(request: pytest.FixtureRequest, folder: Path) -> Iterator[Way]:
    """Return each of the ways, to a server that runs."""
    kind, use = KINDS[request.param]
    own = folder / request.param
    own.mkdir()
    files = Certificate(own, CA)
    for file in (files.cert, files.key, files.issuers):
        file.chmod(0o644)
    server = kind(own, files)
    server.start()
    yield Way(server, use(server))
    server.kill()


def causes(error: BaseException | None) -> str:
    """Return what an exception says, and those that it comes from."""
    if error is None:
        return ""
    return f"{error} {causes(error.__cause__ or error.__context__)}"


def test_the_right_server(way: Way, folder: Path) -> None:
    way.server.show(CA.issue_cert("127.0.0.1"))
    way.use({"ca_file": str(folder / "ca")})
    way.use({"ca_file": str(folder / "ca"), "cert_file": str(folder / "client")})


@pytest.mark.parametrize("certificate", CERTIFICATES)
def test_a_server_with(way: Way, folder: Path, certificate: str) -> None:
    way.server.show(CERTIFICATES[certificate]())
    with pytest.raises((Exception,)) as failed:
        way.use({"ca_file": str(folder / "ca")})
    assert "certificate verify failed" in causes(failed.value)


def test_a_server_that_another_issuer_is_trusted_for(way: Way, folder: Path) -> None:
    way.server.show(CA.issue_cert("127.0.0.1"))
    with pytest.raises((Exception,)) as failed:
        way.use({"ca_file": str(folder / "other-ca")})
    assert "certificate verify failed" in causes(failed.value)


def test_a_database_without_tls_gets_no_password(folder: Path, mariadb: Any) -> None:
    opened = Database(conf(database__connection=mariadb.url, database__ca_file=str(folder / "ca")))
    with pytest.raises((Exception,)) as failed:
        opened.read(lambda connection: connection.exec_driver_sql("SELECT 1"))
    assert "SSL" in causes(failed.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"messaging__transport_url": "amqp://h", "messaging__ca_file": "/x"},
            "need a transport_url of amqps",
        ),
        (
            {"messaging__transport_url": "amqps://h", "messaging__ca_file": "/x"},
            "ca_file: /x: No such file",
        ),
        (
            {"messaging__transport_url": "amqps://h", "messaging__ca_file": "/dev/null"},
            "not a PEM file",
        ),
        (
            {"messaging__transport_url": "amqps://h", "messaging__key_file": "/x"},
            "it needs a cert_file",
        ),
        ({"messaging__transport_url": "amqps://h?ssl_cert_reqs=none"}, "take the ssl options out"),
        ({"messaging__transport_url": "amqp://h?ssl=1"}, "take the ssl options out"),
    ],
)
def test_options_that_cannot_be(options: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Transport(conf(**options))


def test_files_for_a_storage_without_tls() -> None:
    with pytest.raises(OptionError, match="rediss:// only"):
        filter_factory(
            {},
            storage="redis://127.0.0.1:6379/0",
            ca_file="/x",
            rule_a="* *: 1 per minute per address",
        )
    with pytest.raises(OptionError, match="not a readable PEM file"):
        filter_factory(
            {},
            storage="rediss://127.0.0.1:6379/0",
            ca_file="/x",
            rule_a="* *: 1 per minute per address",
        )(None)


def test_files_for_another_coordination_service() -> None:
    with pytest.raises(ConfigError, match="for redis:// only"):
        Tooz(conf(servicegroup__backend_url="memcached://h", servicegroup__ca_file="/x"))
