"""Sends requests over kept-alive connections as fast as they are answered.

    python -m bench.load PORT PATH [--clients N] [--seconds S] [--most N]
                         [--header 'NAME: VALUE'] [--body B ...] [--expect TEXT]

A process of its own, without an HTTP library, so that it costs little beside the server. Of several
bodies each client sends one. Prints JSON: ``requests``, ``seconds``, ``cpu`` (seconds of its own),
``latencies`` (milliseconds).
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
from collections.abc import Sequence
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
    most: int | None = None,
    headers: tuple[str, ...] = (),
    body: str | Sequence[str] | None = None,
    expect: str = "",
) -> Load:
    """Send requests from a process of its own.

    :param most: requests after which it ends, if the seconds are not over before
    :param body: of several, clients take one each in turn
    :param expect: what is in the body of every answer
    :raises RuntimeError: an answer was not 2xx or not as expected, or a connection was closed
    """
    argv = [sys.executable, "-m", "bench.load", str(port), path]
    argv += ["--clients", str(clients), "--seconds", str(seconds)]
    argv += [] if most is None else ["--most", str(most)]
    argv += [f"--header={header}" for header in headers]
    bodies = [body] if isinstance(body, str) else body or ()
    argv += [f"--body={text}" for text in bodies]
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


def _send(
    port: int, requests: Sequence[bytes], expect: bytes, clients: int, seconds: float, most: int
) -> Load:
    latencies: list[float] = []
    begin, cpu = time.perf_counter(), time.process_time()
    end = begin + seconds
    with selectors.DefaultSelector() as selector:
        busy = sent = min(clients, most)
        for number in range(busy):
            client = _Client(port, requests[number % len(requests)], expect)
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        while busy:
            ready = selector.select(TIMEOUT)
            if not ready:
                raise SystemExit(f"no answer within {TIMEOUT:g} s")
            for key, _ in ready:
                took = key.data.receive()
                if took is None:
                    continue
                latencies.append(took)
                if sent < most and time.perf_counter() < end:
                    sent += 1
                    key.data.send()
                else:
                    selector.unregister(key.data.socket)
                    key.data.socket.close()
                    busy -= 1
    elapsed = time.perf_counter() - begin
    return Load(len(latencies), elapsed, time.process_time() - cpu, latencies)


def _request(arguments: argparse.Namespace, text: str | None) -> bytes:
    body = (text or "").encode()
    lines = [
        f"{'GET' if text is None else 'POST'} {arguments.path} HTTP/1.1",
        f"Host: 127.0.0.1:{arguments.port}",
        "Accept: application/json",
        *arguments.header,
    ]
    if text is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--most", type=int, default=sys.maxsize)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--body", action="append", default=[])
    parser.add_argument("--expect", default="")
    arguments = parser.parse_args()
    requests = [_request(arguments, body) for body in arguments.body or [None]]
    expect = arguments.expect.encode()
    load = _send(
        *(arguments.port, requests, expect),
        *(arguments.clients, arguments.seconds, arguments.most),
    )
    sys.stdout.write(json.dumps(vars(load)))


if __name__ == "__main__":
    main()
