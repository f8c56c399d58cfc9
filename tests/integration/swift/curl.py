"""curl, and what it got."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

TIMEOUT = 180


@dataclass(frozen=True)
class Answer:
    """A status, headers by their lower-case names, and a body."""

    status: int
    headers: dict[str, str]
    body: bytes


def curl(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    interface: str | None = None,
) -> Answer:
    """Send one request.

    :param url: sent as it is, dots and doubled slashes included
    :param interface: the address to send from
    """
    command = ["curl", "-sS", "--path-as-is", "--globoff", "-m", str(TIMEOUT), "-D", "/dev/stderr"]
    command += ["-I"] if method == "HEAD" else ["-X", method]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}" if value else f"{name};"]  # so an empty one is sent
    if body is not None:
        command += ["-H", "Expect:", "--data-binary", "@-"]
        if not any(name.lower() == "content-type" for name in headers or {}):
            command += ["-H", "Content-Type: application/octet-stream"]
    if interface is not None:
        command += ["--interface", interface]
    done = subprocess.run(
        [*command, url], input=body or b"", capture_output=True, timeout=TIMEOUT + 5, check=False
    )
    head = done.stderr.decode("latin-1").strip()
    if done.returncode not in (0, 18):  # 18: the body was cut short, which a test may want
        raise RuntimeError(f"curl {url}: {done.returncode}: {head}")
    lines = head.split("\r\n\r\n")[-1].splitlines()
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    return Answer(
        int(lines[0].split()[1]),
        {name.strip().lower(): value.strip() for name, value in pairs},
        b"" if method == "HEAD" else done.stdout,
    )
