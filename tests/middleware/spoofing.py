"""Identity headers as attackers spell them, shared by the tests of every authentication."""

from __future__ import annotations

NAMES = [
    "X-User", "X-User-Id", "X-User-Name", "X-User-Roles", "X-User-Domain-Id", "X-User-Domain-Name",
    "X-Project-Id", "X-Project-Name", "X-Project-Domain-Id", "X-Project-Domain-Name",
    "X-Roles", "X-Role", "X-Tenant", "X-Tenant-Id", "X-Tenant-Name", "X-Domain-Id", "X-Domain-Name",
    "X-Service-User-Id", "X-Service-Project-Id", "X-Service-Roles", "X-Service-Role",
    "X-Service-Identity-Status", "X-Service-Catalog", "X-Service-Token", "X-Identity-Status",
    "X-Is-Admin-Project", "X-Auth-Key", "X-Auth-Token", "X-Auth-User", "X-Storage-Token",
    "X-Trust-Id", "OpenStack-System-Scope",
]  # fmt: skip

SPELLINGS = [str, str.lower, str.upper, lambda name: name.replace("-", "_"), str.swapcase]


def spoofed() -> dict[str, str]:
    """Return environ keys of every name; a server folds every spelling into these."""
    keys = {
        "HTTP_" + spell(name).upper().replace("-", "_") for name in NAMES for spell in SPELLINGS
    }
    assert len(keys) == len(NAMES)
    return {key: "Confirmed" if key.endswith("STATUS") else "EVIL" for key in keys}
