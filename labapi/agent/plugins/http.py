"""The plugin ``http``: requests to web servers, and what their answers must be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from labapi.agent.errors import TestFailed
from labapi.agent.plugins import Outcome, Plugin, Run, method
from labapi.case import Result
from labapi.exceptions import InvalidInput

if TYPE_CHECKING:
    import requests

MAX_BODY = 10 * 1024 * 1024  # bytes of an answer's body that are read; more fails the test
SHOWN_BODY = 65536  # bytes of it that the case's data holds
MAX_REDIRECTS = 5
TIMEOUT = 30.0  # seconds without a byte after which a server counts as silent
READ = 65536  # bytes read at once

_HEADERS = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$"},
    "additionalProperties": {"type": "string", "maxLength": 8192, "pattern": "^[^\\r\\n]*$"},
    "maxProperties": 100,
}
_STATUS = {"type": "integer", "minimum": 100, "maximum": 599}
_COMMON: dict[str, Any] = {
    "url": {"type": "string", "pattern": "^https?://", "maxLength": 8192},
    "headers": _HEADERS,
    "status": {"oneOf": [_STATUS, {"type": "array", "items": _STATUS, "minItems": 1}]},
    "contains": {"type": "string", "minLength": 1, "maxLength": 65536},
    "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600},
    "redirects": {"type": "integer", "minimum": 0, "maximum": MAX_REDIRECTS},
    "verify": {"type": "boolean"},
}
GET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": _COMMON,
    "required": ["url"],
    "additionalProperties": False,
}
POST_SCHEMA: dict[str, Any] = {
    **GET_SCHEMA,
    "properties": {**_COMMON, "body": {"type": "string"}, "json": {}},
    "not": {"required": ["body", "json"]},
}

EXPECTED = (
    "status: what the answer's status must be, a number or a list (200 to 299); contains: text that"
    " its body must hold; timeout: seconds that the server may be silent (30); redirects: how many"
    " to follow, 0 to 5 (5); verify: whether to check certificates (true)"
)
GET = f"Send a GET request. url; headers: an object; {EXPECTED}"
POST = f"Send a POST request. url; headers: an object; body: text, or json: a value; {EXPECTED}"


class Http(Plugin):
    """Requests to web servers."""

    @method(GET, schema=GET_SCHEMA)
    def get(self, run: Run, parameters: dict[str, Any]) -> Outcome:
        """Send a GET request and compare the answer."""
        return _request(run, "GET", parameters)

    @method(POST, schema=POST_SCHEMA)
    def post(self, run: Run, parameters: dict[str, Any]) -> Outcome:
        """Send a POST request and compare the answer."""
        return _request(run, "POST", parameters)


def _request(run: Run, verb: str, parameters: dict[str, Any]) -> Outcome:
    # requests is loaded when it is first needed: an idle agent stays small.
    import requests

    body = parameters.get("body")
    timeout = min(parameters.get("timeout", TIMEOUT), max(run.remaining, 0.001))
    started = time.monotonic()
    with requests.Session() as session:
        session.trust_env = False  # the agent's own proxies and .netrc passwords stay with it
        redirects = parameters.get("redirects", MAX_REDIRECTS)
        session.max_redirects = max(1, redirects)  # requests looks one ahead
        try:
            with session.request(
                verb,
                parameters["url"],
                headers={"User-Agent": "labapi", **parameters.get("headers", {})},
                data=body.encode() if body is not None else None,
                json=parameters.get("json"),
                timeout=timeout,
                stream=True,
                verify=parameters.get("verify", True),
                allow_redirects=redirects > 0,
            ) as answer:
                return _compare(run, answer, parameters, started)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise InvalidInput(f"parameters.url: {error}") from None
        except (requests.exceptions.RequestException, UnicodeError) as error:
            run.check()
            raise TestFailed(f"{verb} {parameters['url']}: {error}") from error


def _compare(
    run: Run, answer: requests.Response, parameters: dict[str, Any], started: float
) -> Outcome:
    body = bytearray()
    for piece in _pieces(run, answer):
        body += piece
        if len(body) > MAX_BODY:
            raise TestFailed(f"the answer's body is larger than {MAX_BODY} bytes")
    elapsed = round((time.monotonic() - started) * 1000, 3)
    run.write(f"{answer.request.method} {answer.url}: {answer.status_code}, {elapsed:g} ms\n")
    data = {
        "status": answer.status_code,
        "url": answer.url,
        "headers": dict(answer.headers),
        "elapsed_ms": elapsed,
        "size": len(body),
        "body": bytes(body[:SHOWN_BODY]).decode(answer.encoding or "utf-8", errors="replace"),
    }
    problems = []
    status = parameters.get("status", list(range(200, 300)))
    expected = status if isinstance(status, list) else [status]
    if answer.status_code not in expected:
        wanted = "200 to 299" if "status" not in parameters else " or ".join(map(str, expected))
        problems.append(f"the status is {answer.status_code}, not {wanted}")
    contains = parameters.get("contains")
    if contains is not None and contains.encode() not in body:
        problems.append("the body does not contain the text")
    if problems:
        return Outcome(Result.FAIL, detail="; ".join(problems), data=data)
    return Outcome(Result.PASS, data=data)


def _pieces(run: Run, answer: requests.Response) -> Iterator[bytes]:
    """Return the body piece by piece; a server that trickles does not outlive the timeout."""
    for piece in answer.iter_content(READ):
        run.check()
        yield piece
