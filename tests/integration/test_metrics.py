"""Metrics of an API with several workers: whichever answers shows the sum, also after a reload."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path

from tests.lab import ROOT, MariaDB, RabbitMQ, until
from tests.programs import Program, curl, free_port, run

SHIPPED = (ROOT / "etc" / "api-paste.ini").read_text()
COUNTED = 'labapi_http_requests_total{method="GET",route="/v2.1/slaves",status="200"} '


def paste(folder: Path) -> str:
    text = SHIPPED.replace("    access_log\n", "    access_log\n    metrics\n")
    text = text.replace("/ = root\n", "/ = root\n/metrics = metrics_page\n")
    section = "[filter:metrics]\nuse = egg:labapi-middleware#metrics\n"
    assert section in text
    return text.replace(section, f"{section}multiprocess_dir = {folder}\n")


def test_workers_add_up(tmp_path: Path, mariadb: MariaDB, rabbitmq: RabbitMQ) -> None:
    numbers = tmp_path / "metrics"
    numbers.mkdir()
    (tmp_path / "api-paste.ini").write_text(paste(numbers))
    config, port = tmp_path / "labapi.conf", free_port()
    config.write_text(
        f"[DEFAULT]\nstate_path = {tmp_path}/state\n[api]\nport = {port}\nworkers = 2\n"
        f"[database]\nconnection = {mariadb.url}\n[messaging]\ntransport_url = {rabbitmq.url}\n"
    )
    run("labapi-manage", "--config-file", str(config), "db", "upgrade")
    program = Program("labapi-api", "--config-file", str(config), log=tmp_path / "log")
    program.says("listens on")

    def shown() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return str(answer.read(), "ascii")

    def ask(count: int) -> None:
        for _ in range(count):
            curl(f"http://127.0.0.1:{port}/v2.1/slaves")

    ask(12)
    until(lambda: f"{COUNTED}12.0" in shown())
    program.process.send_signal(signal.SIGHUP)
    until(lambda: program.output().count("a new pipeline serves") == 2)
    ask(8)
    # Each of several answers: which worker gives it is up to the kernel.
    for _ in range(10):
        until(lambda: f"{COUNTED}20.0" in shown())
    assert program.stop() == 0, program.output()
    assert "Traceback" not in program.output()
