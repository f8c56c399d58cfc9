from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from labapi.db import migration
from labapi.db.models import Base
from labapi.db.session import Database
from labapi.exceptions import ConfigError


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    with database.engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_again_changes_nothing(database: Database) -> None:
    before = migration.current(database)
    migration.upgrade(database)
    assert migration.current(database) == before == migration.history()[0][0]
    migration.require_current(database)


def test_an_unknown_revision(database: Database) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        migration.upgrade(database, "nowhere")
