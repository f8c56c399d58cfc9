"""Whom a plan tells of its end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from labapi.exceptions import InvalidInput
from labapi.plans.problems import Problems, shown

MAX_TARGETS = 20
MAX_ADDRESS = 254  # characters of a mail address (RFC 5321)
MAX_URL = 2000
MAX_SECRET = 256

_address = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*"
).fullmatch
_url = re.compile(r"[\x21-\x7e]+").fullmatch


def targets(notify: Any, receiver: Any, problems: Problems) -> list[dict[str, str]]:
    """Return whom to tell, each once: ``{"mail": address}``, ``{"webhook": url, "secret": …}``.

    :param notify: as the plan has it, None if it has none
    :param receiver: ``environment.mail.receiver``, likewise
    """
    found: list[dict[str, str]] = []
    if receiver is not None:
        found += _some(_mails, receiver, "environment/mail/receiver", problems)
    if notify is not None and not isinstance(notify, list):
        problems.add("notify", 'expected a list such as [{"mail": "lab@example.org"}]')
        notify = []
    for index, item in enumerate((notify or [])[: MAX_TARGETS + 1]):
        found += _some(_item, item, f"notify/{index}", problems)
    found = [one for index, one in enumerate(found) if one not in found[:index]]
    if len(found) > MAX_TARGETS or len(notify or []) > MAX_TARGETS:
        problems.add("notify", f"a plan tells at most {MAX_TARGETS}")
    return found[:MAX_TARGETS]


def _some(read: Any, value: Any, path: str, problems: Problems) -> list[dict[str, str]]:
    try:
        return list(read(value))
    except InvalidInput as error:
        problems.add(path, error)
        return []


def _item(item: Any) -> Iterator[dict[str, str]]:
    if isinstance(item, dict) and item.keys() == {"mail"}:
        yield from _mails(item["mail"])
    elif isinstance(item, dict) and "webhook" in item and item.keys() <= {"webhook", "secret"}:
        yield _webhook(item)
    else:
        raise InvalidInput('expected {"mail": address} or {"webhook": url, "secret": text}')


def _mails(value: Any) -> Iterator[dict[str, str]]:
    addresses = value if isinstance(value, list) else [value]
    if len(addresses) > MAX_TARGETS:
        raise InvalidInput(f"a plan tells at most {MAX_TARGETS}")
    for address in addresses:
        if not isinstance(address, str) or len(address) > MAX_ADDRESS or not _address(address):
            raise InvalidInput(f"{shown(address)} is not a mail address")
        yield {"mail": address}


def _webhook(item: Mapping[str, Any]) -> dict[str, str]:
    url = item["webhook"]
    if not isinstance(url, str) or len(url) > MAX_URL or not _url(url) or not _is_http(url):
        raise InvalidInput(f"webhook: {shown(url)} is not a URL such as https://ci.example/hook")
    if "secret" not in item:
        return {"webhook": url}
    secret = item["secret"]
    if not isinstance(secret, str) or not 0 < len(secret) <= MAX_SECRET:
        raise InvalidInput(f"secret: expected a text of 1 to {MAX_SECRET} characters")
    return {"webhook": url, "secret": secret}


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    named = parts.username is None and parts.password is None
    return parts.scheme in ("http", "https") and bool(parts.hostname) and named and port != 0
