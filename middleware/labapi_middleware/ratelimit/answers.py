"""What a client and an application are told of the rules and of what they leave."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from labapi_middleware.ratelimit.rules import NamedRule
from labapi_middleware.ratelimit.storage import Window


def fields(rules: Sequence[NamedRule], windows: Sequence[Window]) -> list[tuple[str, str]]:
    """Return what all answers say of the rules that count the request."""
    left = ", ".join(
        f'"{rule.name}";r={window.remaining};t={math.ceil(window.reset)}'
        for rule, window in zip(rules, windows, strict=True)
    )
    return [("RateLimit-Policy", ", ".join(rule.policy for rule in rules)), ("RateLimit", left)]


def merged(headers: list[tuple[str, str]], fields: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Join the fields with those of another rate limit to the right."""
    own = dict(fields)
    if not any(name in own for name, _ in headers):
        return [*headers, *fields]
    others = []
    for name, value in headers:
        if name in own:
            own[name] += f", {value}"
        else:
            others.append((name, value))
    return [*others, *own.items()]


def described(named: NamedRule, window: Window | None) -> dict[str, Any]:
    """Return a rule and what is left of it, for the application; None where nobody knows."""
    return {
        "name": named.name,
        "methods": sorted(named.rule.methods) or ["*"],
        "path": named.rule.path,
        "per": named.rule.who,
        "limit": named.item.amount,
        "window": named.item.get_expiry(),
        "remaining": window.remaining if window else None,
        "reset": math.ceil(window.reset) if window else None,
    }
