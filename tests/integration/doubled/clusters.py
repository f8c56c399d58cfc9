"""Clusters of RabbitMQ and of MariaDB, on ports and in folders of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pymysql

from tests.chaos.servers import START, MariaDBServer, RabbitMQServer
from tests.processes import Process, free_port, until

JSON = ("--formatter", "json")
GALERA = "/usr/lib/galera/libgalera_smm.so"


class RabbitMQCluster:
    """Nodes that find one another by their configuration.

    :ivar url: of all of them; programs use the first that is there
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.nodes = []
        for number in range(1, count + 1):
            own = folder / f"mq-{number}"
            own.mkdir()
            self.nodes.append(RabbitMQServer(own))
        named = "".join(
            f"cluster_formation.classic_config.nodes.{number} = {node.node}\n"
            for number, node in enumerate(self.nodes, 1)
        )
        for node in self.nodes:
            file = node.home / "rabbitmq.conf"
            backend = "cluster_formation.peer_discovery_backend = classic_config\n"
            file.write_text(f"{file.read_text()}{backend}{named}")
        self.url = ";".join(node.url for node in self.nodes)

    def start(self) -> None:
        """Start all nodes at once, and wait until they are one cluster."""
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            until(node.answers, START, "the start of a node")
        until(lambda: len(self._running()) == len(self.nodes), START, "the cluster")

    def types(self, by: RabbitMQServer) -> dict[str, str]:
        """Return the queues with their types, as a node knows them."""
        shown = json.loads(self.ctl(by, "list_queues", "name", "type", *JSON))
        return {queue["name"]: queue["type"] for queue in shown}

    def stop(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()

    def _running(self) -> list[str]:
        shown = json.loads(self.ctl(self.nodes[0], "cluster_status", *JSON))
        return list(shown["running_nodes"])

    @staticmethod
    def ctl(node: RabbitMQServer, *args: str) -> str:
        """Run rabbitmqctl on a node; return what it prints."""
        done = subprocess.run(
            ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-q", "-n", node.node, *args],
            env=node.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout


class GaleraNode(MariaDBServer):
    """A MariaDB of a cluster.

    :ivar cluster: port on which the nodes talk to one another
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        super().__init__(folder)
        self.cluster = free_port()
        self.transfers = free_port(), free_port()
        self.peers: list[int] = []
        self.first = False

    def command(self) -> list[str]:
        own = [f"127.0.0.1:{port}" for port in (self.cluster, *self.transfers)]
        peers = ",".join(f"127.0.0.1:{port}" for port in self.peers)
        return [
            *super().command(),
            "--wsrep-on=ON",
            f"--wsrep-provider={GALERA}",
            "--wsrep-cluster-name=labapi",
            f"--wsrep-cluster-address=gcomm://{'' if self.first else peers}",
            f"--wsrep-node-address=127.0.0.1:{self.cluster}",
            f"--wsrep-provider-options=gmcast.listen_addr=tcp://{own[0]};ist.recv_addr={own[1]}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address={own[2]}",
            "--binlog-format=ROW",
            "--default-storage-engine=InnoDB",
            "--innodb-autoinc-lock-mode=2",
        ]

    def answers(self) -> bool:
        try:
            ((_, state),) = self.execute("SHOW STATUS LIKE 'wsrep_local_state_comment'")
        except (pymysql.MySQLError, ValueError):
            return False
        return state == "Synced"


class GaleraCluster:
    """Two nodes, an arbitrator, and a proxy that uses the second node if the first is away.

    :ivar url: of the proxy
    """

    USER = "labapi"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes = [GaleraNode(folder / f"db-{number}") for number in (1, 2)]
        self.arbitrator = free_port()
        self.port = free_port()
        self.url = f"mysql+pymysql://{self.USER}@127.0.0.1:{self.port}/labapi"
        self._helpers: list[Process] = []

    def start(self) -> None:
        """Start the first node, then the others."""
        first, second = self.nodes
        ports = [first.cluster, second.cluster]
        for node in self.nodes:
            node.peers = ports
        first.first = True
        first.start()
        first.execute("CREATE DATABASE labapi CHARACTER SET utf8mb4")
        first.execute(f"CREATE USER {self.USER}@'127.0.0.1'")
        first.execute(f"GRANT ALL ON labapi.* TO {self.USER}@'127.0.0.1'")
        first.execute("CREATE USER haproxy@'127.0.0.1'")
        second.start()
        peers = ",".join(f"127.0.0.1:{port}" for port in ports)
        own = f"gmcast.listen_addr=tcp://127.0.0.1:{self.arbitrator}"
        self._helpers.append(
            Process(
                ["garbd", "-a", f"gcomm://{peers}", "-g", "labapi", "-o", own],
                self.folder / "garbd.log",
            )
        )
        until(lambda: self._size() == 3, START, "the arbitrator")
        file = self.folder / "haproxy.cfg"
        file.write_text(_haproxy(self.port, [node.port for node in self.nodes]))
        haproxy = Process(["haproxy", "-f", str(file)], self.folder / "haproxy.log")
        self._helpers.append(haproxy.listens(self.port))

    def stop(self) -> None:
        """End everything."""
        for helper in self._helpers:
            helper.kill()
        for node in self.nodes:
            if node.process is not None:
                node.process.kill()

    def _size(self) -> int:
        ((_, size),) = self.nodes[0].execute("SHOW STATUS LIKE 'wsrep_cluster_size'")
        return int(str(size))


def _haproxy(port: int, nodes: Sequence[int]) -> str:
    first, second = nodes
    return f"""
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen labapi-db
    bind 127.0.0.1:{port}
    option mysql-check user haproxy
    default-server check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions
    server db-1 127.0.0.1:{first} on-marked-up shutdown-backup-sessions
    server db-2 127.0.0.1:{second} backup
"""
