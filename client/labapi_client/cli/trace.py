"""``--debug`` and ``--timing``: what was asked of the lab, as it could be asked again by hand."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from labapi_client.cli.terminal import plain

if TYPE_CHECKING:
    from labapi_client.exchange import Exchange

MAX_SHOWN = 16384  # characters of a body

# What stands for a secret in a pasted line, by the header that had it.
_INSTEAD = {
    "authorization": ("-u", '"$LABAPI_USERNAME:$LABAPI_PASSWORD"'),
    "x-auth-token": ("-H", '"X-Auth-Token: $OS_TOKEN"'),
}
_MASK = "***"
_SECRET = re.compile(
    r"(?i)passw|passphrase|pwd|secret|token|credential|private|api_?key|authorization|cookie"
)
_USER = re.compile(r"(?<=://)[^/@\s]+@")  # of a URL, with a password
_YAML = "application/yaml"


class Trace:
    """Prints each exchange with a lab. Threads share it.

    :param stream: where to
    :param curl: print exchanges; without it they are only counted
    """

    def __init__(self, stream: TextIO, *, curl: bool) -> None:
        self._stream = stream
        self._curl = curl
        self._times: list[tuple[str, float]] = []
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        """Take an exchange in."""
        with self._lock:
            self._times.append((f"{exchange.method} {exchange.url}", exchange.elapsed))
            if self._curl:
                for line in lines(exchange):
                    self._stream.write(f"{line}\n")
                self._stream.flush()

    def print_times(self) -> None:
        """Print how long each exchange took, and all of them."""
        for what, seconds in self._times:
            self._stream.write(f"{seconds * 1000:8.1f} ms  {plain(what)}\n")
        total = sum(seconds for _, seconds in self._times)
        self._stream.write(f"{total * 1000:8.1f} ms  {len(self._times)} requests\n")


def lines(exchange: Exchange) -> Iterator[str]:
    """Yield a request as a line for a shell, and its answer as comments."""
    yield " ".join(["curl", "-sS", *_options(exchange), shlex.quote(plain(exchange.url))])
    milliseconds = exchange.elapsed * 1000
    if exchange.status is None:
        yield f"# {plain(exchange.error or 'no answer')} ({milliseconds:.0f} ms)"
        return
    yield f"# {exchange.status} ({milliseconds:.0f} ms)"
    for name, value in exchange.answer_headers.items():
        yield f"# {_text(f'{name}: {value}')}"
    if exchange.answer:
        yield f"# {_body(exchange.answer)}"


def _options(exchange: Exchange) -> Iterator[str]:
    if exchange.method != "GET":
        yield f"-X {shlex.quote(exchange.method)}"
    for name, value in _headers(exchange.headers):
        yield f"{name} {value}"
    if exchange.body is not None:
        is_yaml = exchange.headers.get("Content-Type") == _YAML
        yield f"-d {shlex.quote(_plan(exchange.body) if is_yaml else _body(exchange.body))}"


def _headers(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if value == _MASK and name.lower() in _INSTEAD:
            yield _INSTEAD[name.lower()]
        else:
            yield "-H", shlex.quote(plain(f"{name}: {value}"))


def _body(body: bytes) -> str:
    """Return JSON in ASCII, its secrets masked; anything else as text."""
    if len(body) > MAX_SHOWN:
        return _size(body)
    try:
        return json.dumps(_masked(json.loads(body)))
    except RecursionError:
        return _size(body)
    except ValueError:
        return _text(body.decode("utf-8", "replace"))


def _plan(body: bytes) -> str:
    """Return YAML as JSON, which is YAML, too; its size if it is more than it seems, or none."""
    import yaml

    try:
        if len(body) > MAX_SHOWN or any(
            isinstance(event, yaml.AliasEvent) for event in yaml.parse(body, yaml.SafeLoader)
        ):
            return _size(body)
        return json.dumps(_masked(yaml.safe_load(body)), default=str)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return _size(body)


def _size(body: bytes) -> str:
    return f"{len(body)} bytes"


def _text(text: str) -> str:
    return plain(_USER.sub(f"{_MASK}@", text))


def _masked(value: object, *, secret: bool = False) -> object:
    """Return a value without its secrets: what has a telling name, and users in URLs."""
    if isinstance(value, dict):
        return {
            name: _masked(inner, secret=secret or bool(_SECRET.search(str(name))))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner, secret=secret) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if secret:
        return _MASK
    return _USER.sub(f"{_MASK}@", value) if isinstance(value, str) else value
