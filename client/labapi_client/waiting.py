"""Why a case waits, and where it could run."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec


class Nearest(msgspec.Struct, kw_only=True):
    """The host that comes nearest to what a case wants.

    :ivar lacks: what it lacks, as sentences
    :ivar busy_with: the cases that it has
    :ivar until: when the first of these is ended at the latest; None if none has begun
    """

    host: str
    lacks: list[str] = []
    busy_with: list[dict[str, Any]] = []
    until: datetime.datetime | None = None


class Waiting(msgspec.Struct, kw_only=True):
    """Why a case waits.

    :ivar place: among the cases that wait, from 1; None if that is far behind
    :ivar turned_away: how many hosts each filter turned away
    :ivar nearest: None if some host would do
    """

    place: int | None = None
    turned_away: dict[str, int] = {}
    nearest: Nearest | None = None


class Candidate(msgspec.Struct, kw_only=True):
    """A host that would do.

    :ivar id: its UUID
    :ivar free: its free slots
    """

    id: str
    host: str
    free: int | None = None


class DryRun(msgspec.Struct, kw_only=True):
    """Where a case could run now.

    :ivar hosts: best first; not all of them if they are very many
    :ivar count: how many they are
    :ivar turned_away: how many hosts each filter turned away
    :ivar nearest: None if some host would do
    """

    hosts: list[Candidate]
    count: int
    turned_away: dict[str, int] = {}
    nearest: Nearest | None = None


class WouldRun(msgspec.Struct, kw_only=True):
    """Where an entry of a plan could run now.

    :ivar path: where it stands in the document: ``testplan/1/Serial-Step-1/2``
    :ivar hosts: as of a case; None if there was no time to look
    :ivar count: how many they are; None likewise
    """

    path: str
    hosts: list[Candidate] | None = None
    count: int | None = None
    turned_away: dict[str, int] = {}
    nearest: Nearest | None = None


class PlanDryRun(msgspec.Struct, kw_only=True):
    """Where the entries of a plan could run now."""

    name: str
    entries: list[WouldRun]
