"""What is tracked, whose it is, and where it is seen."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "endpoint",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("lineage_id", _ID, nullable=True),
        sa.Column("tracked_id", _ID, nullable=True),
        sa.Column("found_by", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=True),
        sa.Column("last_asked", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("place"),
    )
    op.create_index(op.f("ix_endpoint_lineage_id"), "endpoint", ["lineage_id"], unique=False)
    op.create_index(op.f("ix_endpoint_tracked_id"), "endpoint", ["tracked_id"], unique=False)
    op.create_table(
        "lineage",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("names_key", sa.Text(), nullable=False),
        sa.Column("issuers", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("key_age", sa.BigInteger(), nullable=False),
        sa.Column("lifetime", sa.BigInteger(), nullable=True),
        sa.Column("window", sa.Text(), nullable=False),
        sa.Column("may_shrink", sa.Boolean(), nullable=False),
        sa.Column("current_id", _ID, nullable=True),
        sa.Column("ari_start", sa.BigInteger(), nullable=True),
        sa.Column("ari_end", sa.BigInteger(), nullable=True),
        sa.Column("ari_chosen", sa.BigInteger(), nullable=True),
        sa.Column("ari_explanation", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index(op.f("ix_lineage_mode"), "lineage", ["mode"], unique=False)
    op.create_index(op.f("ix_lineage_names_key"), "lineage", ["names_key"], unique=False)
    op.create_index(op.f("ix_lineage_owner_id"), "lineage", ["owner_id"], unique=False)
    op.create_table(
        "owner",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("escalation", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("is_fallback", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_index(
        "owner_fallback",
        "owner",
        ["is_fallback"],
        unique=True,
        sqlite_where=sa.text("is_fallback"),
        postgresql_where=sa.text("is_fallback"),
    )
    op.create_table(
        "owner_claim",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("kind", "pattern"),
    )
    op.create_index(op.f("ix_owner_claim_owner_id"), "owner_claim", ["owner_id"], unique=False)
    op.create_table(
        "sighting",
        sa.Column("endpoint_id", _ID, nullable=False),
        sa.Column("tracked_id", _ID, nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("endpoint_id", "tracked_id"),
    )
    op.create_index(op.f("ix_sighting_tracked_id"), "sighting", ["tracked_id"], unique=False)
    op.create_table(
        "tracked",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shown_as", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("spki_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("key_type", sa.Text(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("lineage_id", _ID, nullable=True),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("replaced_by", _ID, nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("stage_since", sa.BigInteger(), nullable=False),
        sa.Column("next_look", sa.BigInteger(), nullable=True),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("identity"),
    )
    op.create_index(op.f("ix_tracked_lineage_id"), "tracked", ["lineage_id"], unique=False)
    op.create_index(op.f("ix_tracked_owner_id"), "tracked", ["owner_id"], unique=False)
    op.create_index(
        "tracked_authority",
        "tracked",
        ["subject"],
        unique=False,
        sqlite_where=sa.text("kind = 'authority'"),
        postgresql_where=sa.text("kind = 'authority'"),
    )
    op.create_index("tracked_issuer", "tracked", ["issuer", "id"], unique=False)
    op.create_index(
        "tracked_next_look",
        "tracked",
        ["next_look"],
        unique=False,
        sqlite_where=sa.text("next_look IS NOT NULL"),
        postgresql_where=sa.text("next_look IS NOT NULL"),
    )
    op.create_index("tracked_not_after", "tracked", ["not_after"], unique=False)
    op.create_index("tracked_serial", "tracked", ["serial"], unique=False)
    op.create_index("tracked_spki_sha256", "tracked", ["spki_sha256"], unique=False)
    op.create_index("tracked_stage", "tracked", ["stage", "id"], unique=False)
    op.create_index(
        "tracked_standing",
        "tracked",
        ["lineage_id"],
        unique=False,
        sqlite_where=sa.text("replaced_by IS NULL"),
        postgresql_where=sa.text("replaced_by IS NULL"),
    )
    op.create_table(
        "tracked_content",
        sa.Column("tracked_id", _ID, autoincrement=False, nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tracked_id"),
    )
    op.create_table(
        "tracked_name",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tracked_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("name", "tracked_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_tracked_name_tracked_id"), "tracked_name", ["tracked_id"], unique=False)
