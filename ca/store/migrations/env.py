"""Alembic's entry point: it runs the scripts on the connection that `ca/store/migrate.py` hands over."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
