"""Metadata of hosts that are off the list.

They say who may see what ran there, and a host that comes back has them again. Otherwise taking a
host off the list would open to everybody in its project what an operator had closed.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, select, update

from labapi.db.models import FormerHost, Host
from labapi.db.upsert import upsert

# Locked: who changes them at this moment is waited for.
_META = select(Host.meta).where(Host.host == bindparam("host")).with_for_update()
_OF_HOSTS = FormerHost.host.in_(bindparam("hosts", expanding=True))
_KEPT = select(FormerHost.host, FormerHost.meta).where(_OF_HOSTS)
_RESTORE = update(Host).where(Host.host == bindparam("of")).values(meta=bindparam("kept"))
_FORGET = delete(FormerHost).where(_OF_HOSTS)


def keep(connection: Connection, host: str) -> None:
    """Keep the metadata of a host that is about to be deleted, if it has any."""
    meta = connection.execute(_META, {"host": host}).scalar_one_or_none()
    if meta:
        upsert(connection, FormerHost, ("host",), [{"host": host, "meta": meta}], keep=())


def restore(connection: Connection, hosts: Iterable[str]) -> None:
    """Give hosts that are on the list again the metadata that they had."""
    values = {"hosts": list(hosts)}
    kept = connection.execute(_KEPT, values).all()
    if kept:
        connection.execute(_RESTORE, [{"of": row.host, "kept": row.meta} for row in kept])
        connection.execute(_FORGET, values)
