"""Who has to be told of what, in which letter it was said, what people answered; and who is signed in."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create everything."""
    op.create_table(
        "acknowledged",
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("about"),
    )
    op.create_index(op.f("ix_acknowledged_until"), "acknowledged", ["until"], unique=False)
    op.create_table(
        "browser_session",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("profiles", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("credential", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("secret_sha256"),
    )
    op.create_index(op.f("ix_browser_session_expires_at"), "browser_session", ["expires_at"], unique=False)
    op.create_index(op.f("ix_browser_session_identity"), "browser_session", ["identity"], unique=False)
    op.create_table(
        "crossing",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("tracked_id", _ID, nullable=True),
        sa.Column("lineage_id", _ID, nullable=True),
        sa.Column("owner_id", _ID, nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("crossed_at", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("about", "threshold"),
    )
    op.create_index("crossing_lineage", "crossing", ["lineage_id", "id"], unique=False)
    op.create_index(
        "crossing_unsettled",
        "crossing",
        ["state", "urgency", "id"],
        unique=False,
        sqlite_where=sa.text("settled_at IS NULL"),
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_index("crossing_tracked", "crossing", ["tracked_id", "id"], unique=False)
    op.create_index(op.f("ix_crossing_noted_at"), "crossing", ["noted_at"], unique=False)
    op.create_table(
        "letter",
        sa.Column("id", _ID, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("message_id"),
    )
    op.create_index(op.f("ix_letter_opened_at"), "letter", ["opened_at"], unique=False)
    op.create_index("letter_owner", "letter", ["owner_id", "id"], unique=False)
    op.create_index("letter_state", "letter", ["state", "id"], unique=False)
    op.create_table(
        "mailbox",
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("dead_since", sa.BigInteger(), nullable=True),
        sa.Column("dead_because", sa.Text(), nullable=True),
        sa.Column("digests_off_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_table(
        "owner_mail",
        sa.Column("owner_id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest_due", sa.BigInteger(), nullable=False),
        sa.Column("daily_due", sa.BigInteger(), nullable=False),
        sa.Column("last_healthy", sa.BigInteger(), nullable=True),
        sa.Column("last_urgent", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("owner_id"),
    )
    op.create_index(op.f("ix_owner_mail_daily_due"), "owner_mail", ["daily_due"], unique=False)
    op.create_index(op.f("ix_owner_mail_digest_due"), "owner_mail", ["digest_due"], unique=False)
    op.create_table(
        "refused",
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("about"),
    )
    op.create_table(
        "sign_in_link",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("profiles", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("secret_sha256"),
    )
    op.create_index(op.f("ix_sign_in_link_expires_at"), "sign_in_link", ["expires_at"], unique=False)
    op.create_table(
        "snapshot",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "spent_link",
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("spent_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce"),
    )
    op.create_index(op.f("ix_spent_link_expires_at"), "spent_link", ["expires_at"], unique=False)
    op.create_table(
        "told",
        sa.Column("crossing_id", _ID, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("letter_id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("crossing_id", "channel", "recipient"),
    )
    op.create_index(op.f("ix_told_letter_id"), "told", ["letter_id"], unique=False)
    op.add_column("owner", sa.Column("feed_version", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("tracked", sa.Column("answering_id", _ID, nullable=True))
    op.add_column("tracked", sa.Column("is_orphan", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("tracked_answering", "tracked", ["answering_id", "stage", "not_after"], unique=False)
    op.create_index("tracked_ending", "tracked", ["stage", "not_after"], unique=False)
    for name, which in (("tracked_orphan", "is_orphan"), ("tracked_signing", "kind != 'certificate'")):
        where = sa.text(which)
        op.create_index(name, "tracked", ["stage", "not_after"], sqlite_where=where, postgresql_where=where)
    op.create_index("alarm_severity", "alarm", ["severity", "since"], unique=False)
    if op.get_context().dialect.name == "postgresql":  # compared by bytes, an index leads to what begins so
        for table in ("certificate_name", "tracked_name", "lineage"):
            op.alter_column(
                table, "name", type_=sa.Text(collation="C"), existing_type=sa.Text(), existing_nullable=False
            )
