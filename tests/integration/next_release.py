"""A program of the release after this one: python -m tests.integration.next_release PROGRAM …

It does what that release may do beside this one: its messages have a field that is not known here,
and its migration adds a column, which it reads and fills.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from alembic.config import Config
from sqlalchemy import String
from sqlalchemy.orm import mapped_column

from labapi.db import models

REVISION = "next"
COLUMN = "release"
BEFORE, HERE = "before", "next"

_PROGRAMS = {
    "labapi-api": "labapi.cmd.api",
    "labapi-conductor": "labapi.cmd.conductor",
    "labapi-agent": "labapi.cmd.agent",
    "labapi-manage": "labapi.cmd.manage",
}


def _add_column() -> None:
    # Before anything is imported that builds statements of the table.
    column: Any = mapped_column(String(16), default=HERE, server_default=BEFORE)
    setattr(models.TestCase, COLUMN, column)


def _add_revision() -> None:
    from labapi.db import migration

    migration.FLOOR = migration.history()[0][0]
    usual = migration._config

    def config() -> Config:
        made = usual()
        ours = Path(made.get_main_option("script_location") or "") / "versions"
        here = Path(__file__).with_name("next_versions")
        made.set_main_option("version_locations", f"{ours}:{here}")
        return made

    migration._config = config


def _add_field() -> None:
    from labapi.rpc import messages

    usual = messages.encode

    def encode(message: messages.Message) -> bytes:
        fields = msgspec.json.decode(usual(message))
        return msgspec.json.encode({**fields, "next_release": {"says": ["more"]}})

    messages.encode = encode


if __name__ == "__main__":
    program = sys.argv[1]
    _add_column()
    _add_field()
    _add_revision()
    del sys.argv[1]
    import_module(_PROGRAMS[program]).main()
