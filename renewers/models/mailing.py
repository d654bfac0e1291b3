"""What somebody has to be told, who was told it and in which letter, and what people answered."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from renewers.models.columns import Id, identity


class Crossing(SQLModel, table=True):
    """A threshold that something has crossed, written down once, when it was first seen crossed.

    `about` is `tracked:12` (one certificate, CRL or CA: its successor crosses for itself) or names an alarm with when
    it began. `urgency` is `digest`, `daily` or `immediate`; `state` is `open` until it is `told`, `collapsed` into a
    worse one or `overtaken` by events, which has settled it; or `acknowledged` for a while. `why` says so in words.
    """

    __tablename__ = "crossing"
    __table_args__ = (
        UniqueConstraint("about", "threshold"),
        Index(
            "crossing_unsettled",
            "state",
            "urgency",
            "id",
            sqlite_where=text("settled_at IS NULL"),
            postgresql_where=text("settled_at IS NULL"),
        ),
        Index("crossing_lineage", "lineage_id", "id"),
        Index("crossing_tracked", "tracked_id", "id"),
    )

    id: int | None = Field(default=None, sa_column=identity())
    about: str = Field(sa_type=Text)
    threshold: str = Field(sa_type=Text)
    urgency: str = Field(sa_type=Text)
    tracked_id: int | None = Field(default=None, sa_type=Id)
    lineage_id: int | None = Field(default=None, sa_type=Id)
    owner_id: int | None = Field(default=None, sa_type=Id)
    subject: str = Field(sa_type=Text)
    message: str = Field(sa_type=Text)
    hint: str | None = Field(default=None, sa_type=Text)
    crossed_at: int = Field(sa_type=BigInteger)
    noted_at: int = Field(sa_type=BigInteger, index=True)
    state: str = Field(sa_type=Text)
    why: str = Field(default="", sa_type=Text)
    settled_at: int | None = Field(default=None, sa_type=BigInteger)


class Letter(SQLModel, table=True):
    """One message to one recipient. What stands in it is put together when it is sent, from what is true then.

    `kind` is `digest`, `daily`, `urgent`, `escalation` or `monthly`; `key` keeps two replicas from opening it twice.
    `step` is the place of the recipient on the owner's escalation path, the owner's own mailbox being 0. `state` is
    `open`, `sent`, `refused` (for good, by a mail server), `bounced`, or `overtaken`: there was nothing left to say.
    """

    __tablename__ = "letter"
    __table_args__ = (Index("letter_owner", "owner_id", "id"), Index("letter_state", "state", "id"))

    id: int | None = Field(default=None, sa_column=identity())
    key: str = Field(sa_type=Text, unique=True)
    kind: str = Field(sa_type=Text)
    owner_id: int = Field(sa_type=Id)
    recipient: str = Field(sa_type=Text)
    step: int
    message_id: str = Field(sa_type=Text, unique=True)
    reason: str = Field(sa_type=Text)
    subject: str = Field(default="", sa_type=Text)
    opened_at: int = Field(sa_type=BigInteger, index=True)
    sent_at: int | None = Field(default=None, sa_type=BigInteger)
    state: str = Field(sa_type=Text)
    rows: int = 0
    error: str | None = Field(default=None, sa_type=Text)


class Told(SQLModel, table=True):
    """The sent ledger: that this recipient is told of this crossing, over this channel, in that letter; never twice."""

    __tablename__ = "told"

    crossing_id: int = Field(sa_type=Id, primary_key=True)
    channel: str = Field(sa_type=Text, primary_key=True)
    recipient: str = Field(sa_type=Text, primary_key=True)
    letter_id: int = Field(sa_type=Id, index=True)
    at: int = Field(sa_type=BigInteger)


class OwnerMail(SQLModel, table=True):
    """When an owner's next regular letters are due, and when the last one told it that all is well."""

    __tablename__ = "owner_mail"

    owner_id: int = Field(sa_type=Id, primary_key=True, sa_column_kwargs={"autoincrement": False})
    digest_due: int = Field(sa_type=BigInteger, index=True)
    daily_due: int = Field(sa_type=BigInteger, index=True)
    last_healthy: int | None = Field(default=None, sa_type=BigInteger)
    last_urgent: int | None = Field(default=None, sa_type=BigInteger)


class Mailbox(SQLModel, table=True):
    """What is known of an address: whether mail to it comes back, and which regular letters it does not want."""

    __tablename__ = "mailbox"

    address: str = Field(sa_type=Text, primary_key=True)
    dead_since: int | None = Field(default=None, sa_type=BigInteger)
    dead_because: str | None = Field(default=None, sa_type=Text)
    digests_off_at: int | None = Field(default=None, sa_type=BigInteger)


class Acknowledged(SQLModel, table=True):
    """That somebody knows of it and takes care until a day, for a reason; it ends by itself.

    `about` is `lineage:3` or, for what belongs to none, `tracked:12`.
    """

    __tablename__ = "acknowledged"

    about: str = Field(sa_type=Text, primary_key=True)
    until: int = Field(sa_type=BigInteger, index=True)
    reason: str = Field(sa_type=Text)
    by: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)


class Refused(SQLModel, table=True):
    """That an owner says that something is not theirs: nobody's, whatever the claims say, until somebody is assigned.

    `about` is `lineage:3` or, for what belongs to none, `tracked:12`; `owner_id` is who refused; `subject` is what the
    alarm that stands for it is about.
    """

    __tablename__ = "refused"

    about: str = Field(sa_type=Text, primary_key=True)
    subject: str = Field(sa_type=Text)
    owner_id: int = Field(sa_type=Id)
    by: str = Field(sa_type=Text)
    at: int = Field(sa_type=BigInteger)


class SpentLink(SQLModel, table=True):
    """A signed link of a letter that was used: it acts once. Forgotten when the link itself has ended."""

    __tablename__ = "spent_link"

    nonce: str = Field(sa_type=Text, primary_key=True)
    spent_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(sa_type=BigInteger, index=True)


class Snapshot(SQLModel, table=True):
    """Something that takes long to work out, as it was at a moment: `body` is JSON."""

    __tablename__ = "snapshot"

    name: str = Field(sa_type=Text, primary_key=True)
    at: int = Field(sa_type=BigInteger)
    body: str = Field(sa_type=Text)
