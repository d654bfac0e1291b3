"""Alembic scripts, one a schema change. A migration must work while the previous version is still running."""
