"""A lab whose broker and database are clusters: one node of each is killed while cases run."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import Connection

from labapi import config
from labapi.db.session import Database
from tests.integration.doubled.clusters import GaleraCluster, GaleraNode, RabbitMQCluster
from tests.integration.rolling import NOW, PATIENCE, Release, RollingLab, Traffic, ended
from tests.lab import MariaDB
from tests.processes import until

QUORUM = Release("now", env={"OS_MESSAGING__QUEUE_TYPE": "quorum"})
MIRRORED = {"ha-mode": "all", "ha-sync-mode": "automatic", "ha-promote-on-failure": "always"}
POLICY = ("set_policy", "labapi", r"^labapi\.", json.dumps(MIRRORED), "--apply-to", "queues")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that MariaDB's user can reach."""
    made = Path(tempfile.mkdtemp(prefix="labapi-doubled-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class DoubledLab:
    """A lab whose servers are clusters, and a client that posts cases all the time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clusters: list[GaleraCluster | RabbitMQCluster] = []
        self._lab: RollingLab | None = None

    def start(
        self,
        release: Release,
        broker: RabbitMQCluster,
        database: GaleraCluster | MariaDB,
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        """Start all of it.

        :param prepare: what is done before labapi starts
        """
        found = (broker, database)
        self._clusters = [one for one in found if not isinstance(one, MariaDB)]
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(cluster.start) for cluster in self._clusters]:
                started.result()
        prepare()
        lab = RollingLab(self.folder, database.url, broker.url, doors=1, hosts=("lab-1",))
        self._lab = lab
        lab.start(release)
        self._url = lab.urls[0]
        self._client = Traffic(lab.urls, ["lab-1", None])
        self._client.start()

    def goes_on(self) -> None:
        """Check that a case that is posted now is run."""
        made = self._client.made
        posted = len(made)
        until(lambda: len(made) > posted + 1, PATIENCE, "another case")
        assert ended(self._url, made[-1]).result == "PASS"

    def all_pass(self) -> None:
        """Check that no case was refused for good, and that all have passed."""
        cases = [ended(self._url, case) for case in self._client.stop()]
        assert self._client.refused == []
        assert [(c.id, c.reason, c.detail) for c in cases if c.result != "PASS"] == []

    def stop(self) -> None:
        """End everything."""
        if self._lab is not None:
            self._lab.stop()
        for cluster in self._clusters:
            cluster.stop()


@pytest.fixture
def lab(folder: Path) -> Iterator[DoubledLab]:
    lab = DoubledLab(folder)
    yield lab
    lab.stop()


def test_a_node_of_each_is_killed(lab: DoubledLab) -> None:
    galera, rabbitmq = GaleraCluster(lab.folder), RabbitMQCluster(lab.folder, 3)
    lab.start(QUORUM, rabbitmq, galera)
    lab.goes_on()
    for node in (rabbitmq.nodes[0], galera.nodes[0]):
        node.kill()
        lab.goes_on()
    lab.all_pass()
    types = rabbitmq.types(rabbitmq.nodes[1])
    assert {types[name] for name in ("labapi.report", "labapi.agent.lab-1")} == {"quorum"}


def test_one_of_two_mirrored_nodes_is_killed(lab: DoubledLab, mariadb: MariaDB) -> None:
    rabbitmq = RabbitMQCluster(lab.folder, 2)
    lab.start(NOW, rabbitmq, mariadb, prepare=lambda: rabbitmq.ctl(rabbitmq.nodes[0], *POLICY))
    lab.goes_on()
    rabbitmq.nodes[0].kill()
    lab.goes_on()
    lab.all_pass()


def test_a_node_that_is_behind_says_nothing_old(folder: Path) -> None:
    """As after a failover to a node that has not yet applied what the one before committed."""
    galera = GaleraCluster(folder)
    try:
        galera.start()
        first, second = (database_on(node) for node in galera.nodes)
        first.insert(lambda c: c.exec_driver_sql("CREATE TABLE seen (id INT PRIMARY KEY)"))
        with pymysql.connect(host="127.0.0.1", port=galera.nodes[1].port, user="root") as held:
            held.cursor().execute("FLUSH TABLES WITH READ LOCK")
            first.insert(lambda c: c.exec_driver_sql("INSERT INTO seen VALUES (1)"))
            with ThreadPoolExecutor() as pool:
                found = pool.submit(
                    second.read, lambda c: c.exec_driver_sql("SELECT id FROM seen").scalars().all()
                )
                time.sleep(1.0)
                held.cursor().execute("UNLOCK TABLES")
                assert found.result(60) == [1]
    finally:
        galera.stop()


def seen(connection: Connection) -> list[int]:
    return list(connection.exec_driver_sql("SELECT id FROM seen").scalars())


def database_on(node: GaleraNode) -> Database:
    conf = config.new(database__connection=node.url, database__timeout=60.0)
    conf([], project="labapi", default_config_files=[])
    return Database(conf)
