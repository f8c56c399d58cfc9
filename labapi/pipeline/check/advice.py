"""Warnings about filters that are missing, or stand where they do only a part of their work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from labapi.pipeline.check import foreign
from labapi.pipeline.check.factory import FILTER
from labapi.pipeline.check.finding import Finding
from labapi.pipeline.check.order import needs
from labapi.pipeline.check.parts import Part
from labapi.pipeline.contract import CONTEXT, IDENTITY

# What an API should have in front, and what happens without it.
_EXPECTED = {
    "faultwrap": "errors leave as they are, not as JSON faults",
    "sizelimit": "bodies of any size are read",
}
# What answers or refuses requests by itself; its answers should be faults with a request id.
_ANSWERING = {"proxy", "cors", "sizelimit", "ip_whitelist", "ratelimit", "context", "audit"}
_OUTERMOST = {"faultwrap", "access_log", "metrics"}


def check(chain: Sequence[Part]) -> Iterator[Finding]:
    """Return warnings about filters that one request passes.

    :param chain: filters, outermost first, and the application
    """
    filters = [part for part in chain if part.kind == FILTER]
    if any(part.factory is None for part in filters):
        return  # one that cannot be found may be the one that seems to be missing
    names = [part.factory.name if part.factory else "" for part in filters]
    guarded = [foreign.gives(part) == IDENTITY for part in filters]
    if any(need.what == CONTEXT for need in needs(chain[-1])):
        yield from _missing(chain[-1], names)
    for position, (part, name) in enumerate(zip(filters, names, strict=True)):
        problem = _misplaced(part, name, names[:position], guarded[:position])
        if problem is None and name == "audit" and "proxy" in names[position:]:
            problem = "'audit' records the address of a proxy; move it to the right of 'proxy'"
        if problem is not None:
            yield Finding(part.shown_at, problem, fatal=False)


def _missing(end: Part, names: Sequence[str]) -> Iterator[Finding]:
    for name, without in _EXPECTED.items():
        if name not in names:
            problem = f"there is no '{name}' to the left of '{end.name}': {without}"
            yield Finding(end.shown_at, problem, fatal=False)


def _misplaced(part: Part, name: str, left: Sequence[str], guarded: Sequence[bool]) -> str | None:
    """Return what is wrong with the place of a filter, behind those to its left, or None."""
    answering = [
        other
        for other, authentication in zip(left, guarded, strict=True)
        if other in _ANSWERING or authentication
    ]
    if name == "faultwrap" and answering:
        return f"what '{answering[0]}' answers passes no '{part.name}'; move it to the left of that"
    early = [other for other in left if other in _OUTERMOST or other in answering]
    if name == "request_id" and early:
        return f"'{early[0]}' to its left knows no request id; move '{part.name}' to the left of it"
    if name == "basic" and "ratelimit" not in left and _counts_no_failures(part):
        return "nobody counts guessed passwords; put 'ratelimit' to the left of 'basic'"
    if name == "cors" and any(guarded):
        return (
            "a browser's preflight request has no identity; move 'cors' to the left of"
            " the authentication"
        )
    return None


def _counts_no_failures(basic: Part) -> bool:
    value = basic.local.get("failures_per_address") or basic.given.get("failures_per_address")
    return value is not None and not value.text.strip()
