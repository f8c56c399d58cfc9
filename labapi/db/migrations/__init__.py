"""The migrations: alembic runs them, labapi.db.migration asks it to."""
