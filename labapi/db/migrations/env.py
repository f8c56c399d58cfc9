"""alembic runs this: it hands the connection of ``labapi.db.migration`` to the revisions."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
