"""Sends requests over kept-alive connections as fast as they are answered.

    python -m bench.load PORT PATH [--clients N] [--seconds S] [--header 'NAME: VALUE'] [--body B]
                         [--expect TEXT]

A process of its own, without an HTTP library, so that it costs little beside the server. Prints
JSON: ``requests``, ``seconds``, ``cpu`` (seconds of its own), ``latencies`` (milliseconds).
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.environments import ROOT

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
TIMEOUT = 60.0  # seconds without any answer


@dataclass(frozen=True)
class Load:
    """What a run came to.

    :ivar latencies: milliseconds, in the order of the answers
    :ivar cpu: seconds that the sender itself used
    """

    requests: int
    seconds: float
    cpu: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def run(
    port: int,
    path: str,
    *,
    clients: int,
    seconds: float,
    headers: tuple[str, ...] = (),
    body: str | None = None,
    expect: str = "",
) -> Load:
    """Send requests from a process of its own.

    :param expect: what is in the body of every answer
    :raises RuntimeError: an answer was not 2xx or not as expected, or a connection was closed
    """
    argv = [sys.executable, "-m", "bench.load", str(port), path]
    argv += ["--clients", str(clients), "--seconds", str(seconds)]
    argv += [f"--header={header}" for header in headers]
    argv += [] if body is None else [f"--body={body}"]
    argv += [f"--expect={expect}"]
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 2 * TIMEOUT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{path} on {port}: {done.stderr.strip()[-600:]}")
    return Load(**json.loads(done.stdout))


class _Client:
    def __init__(self, port: int, request: bytes, expect: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._expect = expect
        self._received = b""
        self._sent = 0.0

    def send(self) -> None:
        self._sent = time.perf_counter()
        self.socket.sendall(self._request)

    def receive(self) -> float | None:
        """Return the milliseconds that the answer took, None if it is not complete."""
        data = self.socket.recv(65536)
        if not data:
            raise SystemExit(f"the server closed a connection after {self._received[:400]!r}")
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = _LENGTH.search(self._received, 0, head + 2)
        if length is None or self._received[9:10] != b"2":
            raise SystemExit(f"unexpected answer: {self._received[:600]!r}")
        if len(self._received) < head + 4 + int(length[1]):
            return None
        if self._received.find(self._expect, head) < 0:
            raise SystemExit(f"no {self._expect!r} in the answer: {self._received[head:][:600]!r}")
        self._received = b""
        return (time.perf_counter() - self._sent) * 1000


def _send(port: int, request: bytes, expect: bytes, clients: int, seconds: float) -> Load:
    latencies: list[float] = []
    begin, cpu = time.perf_counter(), time.process_time()
    end = begin + seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = _Client(port, request, expect)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        busy = clients
        while busy:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise SystemExit(f"no answer within {TIMEOUT:g} s")
            for key, _ in ready:
                took = key.data.receive()
                if took is None:
                    continue
                latencies.append(took)
                if time.perf_counter() < end:
                    key.data.send()
                else:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()
                    busy -= 1
    elapsed = time.perf_counter() - begin
    return Load(len(latencies), elapsed, time.process_time() - cpu, latencies)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--body")
    parser.add_argument("--expect", default="")
    arguments = parser.parse_args()
    body = (arguments.body or "").encode()
    lines = [
        f"{'GET' if arguments.body is None else 'POST'} {arguments.path} HTTP/1.1",
        f"Host: 127.0.0.1:{arguments.port}",
        "Accept: application/json",
        *arguments.header,
    ]
    if arguments.body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    expect = arguments.expect.encode()
    load = _send(arguments.port, request, expect, arguments.clients, arguments.seconds)
    sys.stdout.write(json.dumps(vars(load)))


if __name__ == "__main__":
    main()
