"""A test plan as ``GET /v2.1/testplans/{id}`` shows it: its tree, with a page of its entries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from oslo_config import cfg

from labapi.api import host_guard
from labapi.api.views import testplans as views
from labapi.db import notices, testcases, testplans
from labapi.db.session import Database, Record
from labapi.db.testcases import PAGE_BYTES


class Page(NamedTuple):
    """Which entries are wanted.

    :ivar filters: column → value it must have
    :ivar after: the ``number`` of the last entry on the page before
    :ivar limit: how many at most
    :ivar output: with the beginnings of their outputs
    """

    filters: Mapping[str, str]
    after: int
    limit: int
    output: bool


class PlanTree:
    """Shows plans to clients, who may not see all hosts.

    :param conf: configuration with the group ``[api]``
    """

    def __init__(self, conf: cfg.ConfigOpts, database: Database) -> None:
        self._inline: int = conf.api.inline_output
        self._database = database

    def show(
        self, environ: Mapping[str, Any], plan: Record, page: Page
    ) -> tuple[views.Plan, int | None]:
        """Return a plan with a page of its entries, and the marker of the next one if there is one.

        Entries on hosts that this client may not see are left out, and counted.

        :param plan: of :func:`labapi.db.testplans.get`
        """
        read = self._database.read
        rows, more = read(
            testplans.entries, plan.id, page.filters, after=page.after, limit=page.limit
        )
        seen = visible(self._database, environ, rows)
        heads = self._heads(seen) if page.output else None
        entries = [
            (row, views.entry(row, None if heads is None else heads.get(row.case, b"")))
            for row in seen
        ]
        told = read(notices.list_of, plan.id) if plan.notify else ()
        shown = views.whole(plan, read(testplans.tallies, plan.id), told, entries)
        return shown, rows[-1].number if more else None

    def _heads(self, rows: Sequence[Record]) -> dict[str, bytes]:
        ran = [row.case for row in rows if row.case_output_size]
        if not ran:
            return {}
        share = min(self._inline, PAGE_BYTES // len(ran))
        return self._database.read(testcases.heads, ran, share)


def visible(
    database: Database, environ: Mapping[str, Any], rows: Sequence[Record]
) -> Sequence[Record]:
    """Return the entries whose hosts this client may see."""
    if not host_guard.guards(environ):
        return rows
    names = {name for row in rows if (name := _host(row)) is not None}
    metas = database.read(testplans.metadata, names) if names else {}
    hidden: Collection[str] = {
        name for name in names if host_guard.hidden(environ, metas.get(name))
    }
    return [row for row in rows if _host(row) not in hidden]


def _host(row: Record) -> str | None:
    """Return where an entry ran, or is to run if it names a host."""
    host: str | None = row.case_host or row.columns.get("host")
    return host
