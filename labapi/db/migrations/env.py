"""alembic runs this: it hands the connection of ``labapi.db.migration`` to the revisions."""

from alembic import context

from labapi.db.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
