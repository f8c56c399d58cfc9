"""RabbitMQ, MariaDB and Redis with TLS, on ports of their own; each can change its certificate."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis
import trustme

from tests.chaos.servers import MariaDBServer, RabbitMQServer, Server
from tests.processes import free_port

CTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"


class Certificate:
    """The files of a server's certificate, with another one in them whenever a test says so.

    :param folder: where they are
    :param ca: of whom the server accepts certificates
    """

    def __init__(self, folder: Path, ca: trustme.CA) -> None:
        self.cert, self.key, self.issuers = (folder / name for name in ("cert", "key", "issuers"))
        self.issuers.write_bytes(ca.cert_pem.bytes())
        self.write(ca.issue_cert("127.0.0.1"))

    def write(self, leaf: trustme.LeafCert) -> None:
        """Write another certificate into the files."""
        self.cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        self.key.write_bytes(leaf.private_key_pem.bytes())


class TLSMariaDB(MariaDBServer):
    """A MariaDB that also speaks TLS."""

    def __init__(self, folder: Path, files: Certificate) -> None:
        super().__init__(folder)
        self.files = files

    def command(self) -> list[str]:
        files = self.files
        return [
            *super().command(),
            f"--ssl-cert={files.cert}",
            f"--ssl-key={files.key}",
            f"--ssl-ca={files.issuers}",
        ]

    def show(self, leaf: trustme.LeafCert) -> None:
        """Show another certificate from now on."""
        self.files.write(leaf)
        self.execute("FLUSH SSL")


class TLSRabbitMQ(RabbitMQServer):
    """A RabbitMQ with a second port for TLS."""

    def __init__(self, folder: Path, files: Certificate) -> None:
        super().__init__(folder)
        self.files = files
        self.tls_port = free_port()
        with (self.home / "rabbitmq.conf").open("a") as conf:
            conf.write(
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
                f"ssl_options.certfile = {files.cert}\n"
                f"ssl_options.keyfile = {files.key}\n"
                f"ssl_options.cacertfile = {files.issuers}\n"
                "ssl_options.verify = verify_peer\n"
                "ssl_options.fail_if_no_peer_cert = false\n"
            )
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.tls_url = f"amqps://guest:guest@127.0.0.1:{self.tls_port}//"

    def show(self, leaf: trustme.LeafCert) -> None:
        """Show another certificate from now on."""
        self.files.write(leaf)
        subprocess.run(
            [CTL, "-n", self.node, "eval", "ssl:clear_pem_cache()."],
            env=self.environment(),
            check=True,
            capture_output=True,
            timeout=300,
        )


class TLSRedis(Server):
    """A Redis that speaks TLS only."""

    name = "redis"

    def __init__(self, folder: Path, files: Certificate) -> None:
        super().__init__(folder)
        self.files = files

    def command(self) -> list[str]:
        files = self.files
        return [
            "redis-server",
            *("--bind", "127.0.0.1", "--port", "0", "--tls-port", str(self.port)),
            *("--tls-cert-file", str(files.cert), "--tls-key-file", str(files.key)),
            *("--tls-ca-cert-file", str(files.issuers), "--tls-auth-clients", "optional"),
            *("--save", "", "--appendonly", "no", "--dir", str(self.folder)),
        ]

    def answers(self) -> bool:
        try:
            return bool(self._client().ping())
        except redis.RedisError:
            return False

    def show(self, leaf: trustme.LeafCert) -> None:
        """Show another certificate from now on."""
        self.files.write(leaf)
        self._client().config_set("tls-cert-file", str(self.files.cert))

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, ssl=True, ssl_cert_reqs="none", ssl_check_hostname=False)
