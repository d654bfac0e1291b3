"""What comes in about the inventory: owners, lineages, what is imported, what is scanned. As `asked.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from pki.web.asked import MAX_NAMES, PLAIN, DurationText, Pem, Text, Word, _In

Line = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=PLAIN)]
"""A line of text without control characters."""
Address = Annotated[str, StringConstraints(max_length=320, pattern=PLAIN)]
Setting = Annotated[str, StringConstraints(max_length=128, pattern=PLAIN)]
"""A word, or nothing for what the settings say."""
Mode = Literal["renewed", "manual", "holder"]
MAX_ITEMS = 200


class Nothing(_In):
    """An empty object: a page in a browser cannot send one without being asked for permission."""


class OwnerRequest(_In):
    """Somebody who answers for certificates."""

    name: Word
    email: Address
    escalation: list[Address] = Field(
        default=[], max_length=5, description="who hears of it next when nothing happens, in this order"
    )
    time_zone: Word = "UTC"
    is_fallback: bool = Field(default=False, description="whether orphans fall to it; the first owner's are anyway")


class OwnerChange(_In):
    """What an owner shall be from now on; what is left out stays."""

    name: Word | None = None
    email: Address | None = None
    escalation: list[Address] | None = Field(default=None, max_length=5)
    time_zone: Word | None = None
    is_fallback: bool | None = None


class ClaimRequest(_In):
    """A rule by which certificates are an owner's."""

    kind: Literal["requester", "name"]
    pattern: Line = Field(
        description="`token:ci-payments`; `dns:api.example`, `dns:*.pay.example`, `uri:spiffe://example/ns/pay/*`"
    )


class LineageRequest(_In):
    """A certificate that is wanted from now on, through all its renewals."""

    name: Word
    names: list[Text] = Field(min_length=1, max_length=MAX_NAMES, description="as in a request to issue")
    mode: Mode = Field(default="renewed", description="who renews it: we, a person, or whoever holds its key")
    issuers: list[Word] = Field(default=[], max_length=10, description="who is asked, in this order")
    profile: Setting = Field(default="", description="a profile of the issuer's; its default if empty")
    key_type: Setting = ""
    key_age: DurationText | None = Field(default=None, description="how long one key may serve; null: one renewal")
    lifetime: DurationText | None = None
    window: Setting = Field(default="", description="a maintenance window of the settings")
    owner: Word | None = None
    may_shrink: bool = Field(default=False, description="go without a name that cannot be proved when time runs out")


class LineageChange(_In):
    """What a lineage shall be from now on; what is left out stays, what may be null is then as if never said."""

    name: Word | None = None
    names: list[Text] | None = Field(default=None, min_length=1, max_length=MAX_NAMES)
    mode: Mode | None = None
    issuers: list[Word] | None = Field(default=None, max_length=10)
    profile: Setting | None = None
    key_type: Setting | None = None
    key_age: DurationText | None = None
    lifetime: DurationText | None = None
    window: Setting | None = None
    owner: Word | None = None
    may_shrink: bool | None = None


class ImportItem(_In):
    """One file's content; exactly one of `pem` and `der`. Private keys in it are passed over and never kept."""

    name: Line = Field(description="what it is called in the answer")
    pem: Annotated[str, StringConstraints(max_length=4 * 1024 * 1024)] | None = None
    der: Annotated[str, StringConstraints(max_length=4 * 1024 * 1024, pattern=r"^[A-Za-z0-9+/=]*$")] | None = Field(
        default=None, description="base64 of a certificate, a CRL, a PKCS#7 message, or a PKCS#12 file"
    )
    passphrase: Annotated[SecretStr, Field(max_length=2048)] | None = None


class ImportRequest(_In):
    """Certificates of others that shall be tracked."""

    items: list[ImportItem] = Field(min_length=1, max_length=MAX_ITEMS)
    owner: Word | None = None
    lineage: Word | None = Field(default=None, description="the lineage that it continues: of one certificate alone")


class AssignRequest(_In):
    """Whose something is; null leaves it to the claims again."""

    owner: Word | None


class ScanRequest(_In):
    """What to look at; exactly one of `targets` and `directory`."""

    targets: Pem | None = Field(
        default=None,
        description="`api.example`, `10.0.0.0/24:443,8443-8445`, `[2001:db8::1]:443`, `smtp://mail.example`; "
        "words between spaces",
    )
    directory: Line | None = Field(
        default=None,
        description="`/etc/ssl`: a directory on the machine of the installation, for who asks on its socket",
    )
    owner: Word | None = Field(default=None, description="whose that is which is found")
