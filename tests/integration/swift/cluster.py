"""A whole Swift cluster on loopback: one replica, one folder, one venv, ports of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.integration.swift.install import environment
from tests.processes import Process, free_port

SAMPLE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk tempurl formpost "
    "tempauth staticweb copy slo dlo versioned_writes symlink proxy-logging proxy-server"
)
START_TIMEOUT = 180.0

_SWIFT_FILTERS = {  # section: entry point
    "cache": "memcache",
    "proxy-logging": "proxy_logging",
    "catch_errors": "catch_errors",
    "gatekeeper": "gatekeeper",
    "healthcheck": "healthcheck",
    "listing_formats": "listing_formats",
    "bulk": "bulk",
    "tempurl": "tempurl",
    "formpost": "formpost",
    "staticweb": "staticweb",
    "copy": "copy",
    "slo": "slo",
    "dlo": "dlo",
    "versioned_writes": "versioned_writes",
    "symlink": "symlink",
    "s3api": "s3api",
}
_BACKEND = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
recon_cache_path = {home}
log_level = WARNING
# A busy machine needs longer than Swift's half a second to three: what it does not wait for is
# done later, and listings lack it meanwhile.
conn_timeout = 30
node_timeout = 60
container_update_timeout = 60
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 1
user = {user}
swift_dir = {etc}
log_level = INFO
{default}
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
node_timeout = 60
conn_timeout = 30
recheck_account_existence = 600
recheck_container_existence = 600
error_suppression_limit = 1000000
{app}
[filter:tempauth]
use = egg:swift#tempauth
user_admin_admin = admin .admin .reseller_admin
user_test_tester = testing .admin
user_test_reader = reading
user_test2_tester2 = testing2 .admin
"""


class Proxy:
    """A running proxy server.

    :ivar port: on loopback
    :ivar log: what it and its filters have written
    """

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text()


class Cluster:
    """Account, container and object server, memcached, and as many proxies as are asked for.

    :param home: an empty folder, on a file system with user xattrs
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.bin = environment()
        self._processes: dict[str, Process] = {}
        self._ports: dict[str, int] = {}
        self._common = {
            "user": subprocess.check_output(["id", "-un"], text=True).strip(),
            "etc": str(home / "etc"),
            "devices": str(home / "devices"),
            "home": str(home),
        }

    def __enter__(self) -> Cluster:
        (self.home / "etc").mkdir()
        disk = self.home / "devices" / "d1"
        disk.mkdir(parents=True)
        os.setxattr(disk, "user.labapi.probe", b"x" * 1024)  # Swift keeps metadata there
        (self.home / "etc" / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_prefix = loopback\nswift_hash_path_suffix = loopback\n"
        )
        try:
            self._start_cache()
            for kind in ("account", "container", "object"):
                self._build_ring(kind)
                self.start_backend(kind)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything that was started."""
        for name in list(self._processes):
            self.stop(name)

    def stop(self, name: str) -> None:
        """Stop one server and the workers that it has started."""
        process = self._processes.pop(name)
        process.send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.process.wait(30)
        process.kill()

    def _run(self, name: str, port: int, command: list[str | Path]) -> Path:
        log = self.home / f"{name}.log"
        self._processes[name] = process = Process(command, log)
        process.listens(port, START_TIMEOUT)
        return log

    def _start_cache(self) -> None:
        port = self._ports["memcached"] = free_port()
        user = self._common["user"]
        listen = ["-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "64"]
        self._run("memcached", port, ["memcached", "-u", user, *listen])

    def _build_ring(self, kind: str) -> None:
        self._ports[kind] = free_port()
        device = ["--region", "1", "--zone", "1", "--ip", "127.0.0.1", "--weight", "1"]
        device += ["--port", str(self._ports[kind]), "--device", "d1"]
        for step in (["create", "4", "1", "0"], ["add", *device], ["rebalance"]):
            builder = [self.bin / "swift-ring-builder", self.home / "etc" / f"{kind}.builder"]
            subprocess.run([*builder, *step], check=True, timeout=180, stdout=subprocess.DEVNULL)

    def start_backend(self, kind: str) -> None:
        """Start the account, container or object server, also again after a stop."""
        port = self._ports[kind]
        conf = self.home / "etc" / f"{kind}-server.conf"
        conf.write_text(_BACKEND.format(kind=kind, port=port, **self._common))
        self._run(kind, port, [self.bin / f"swift-{kind}-server", conf, "-v"])

    def write_proxy_conf(
        self, name: str, port: int, pipeline: str, sections: str, default: str = "", app: str = ""
    ) -> Path:
        """Write the configuration of a proxy and return its path."""
        parts = [
            _PROXY.format(port=port, pipeline=pipeline, default=default, app=app, **self._common)
        ]
        for section, entry_point in _SWIFT_FILTERS.items():
            parts.append(f"[filter:{section}]\nuse = egg:swift#{entry_point}\n")
            if section == "cache":
                parts.append(f"memcache_servers = 127.0.0.1:{self._ports['memcached']}\n")
                parts.append("connect_timeout = 30\npool_timeout = 30\nio_timeout = 30\n")
            if section == "versioned_writes":
                parts.append("allow_versioned_writes = true\nallow_object_versioning = true\n")
        conf = self.home / "etc" / f"{name}.conf"
        conf.write_text("".join([*parts, sections]))
        return conf

    def start_proxy(
        self, name: str, pipeline: str, sections: str = "", default: str = "", app: str = ""
    ) -> Proxy:
        """Start a proxy server and wait until it answers.

        :param pipeline: the whole line
        :param sections: the sections of filters that are not Swift's
        :param default: further lines for ``[DEFAULT]``
        :param app: further lines for the proxy's own section
        """
        port = free_port()
        conf = self.write_proxy_conf(name, port, pipeline, sections, default, app)
        log = self._run(name, port, [self.bin / "swift-proxy-server", conf, "-v"])
        proxy = Proxy(name, port, log)
        if "require_proxy_protocol" not in default:
            self._wait_until_healthy(proxy)
        return proxy

    def _wait_until_healthy(self, proxy: Proxy) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
            try:
                connection.request("GET", "/healthcheck")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.05)
            finally:
                connection.close()
        raise RuntimeError(f"{proxy.name} does not answer:\n{proxy.log[-4000:]}")

    def check(self, conf: Path) -> subprocess.CompletedProcess[str]:
        """Let Swift check a proxy's configuration (``swift-proxy-server CONF -t``)."""
        return subprocess.run(
            [self.bin / "swift-proxy-server", conf, "-t"],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def flush_cache(self) -> None:
        """Forget everything that memcached knows: tokens, and what containers look like."""
        with socket.create_connection(("127.0.0.1", self._ports["memcached"]), 60) as connection:
            connection.sendall(b"flush_all\r\n")
            connection.recv(16)
