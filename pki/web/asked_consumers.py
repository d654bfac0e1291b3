"""What comes in about consumers, what they hold, and trust anchors of others. As `asked.py`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pki.web.asked import PLAIN, DurationText, Pem, Text, Word, _In
from pki.web.asked_renewals import Settings

Kind = Literal["proxy", "broker", "host", "devices", "person", "other"]
Format = Annotated[str, StringConstraints(max_length=16, pattern=PLAIN)]
Stream = Annotated[str, StringConstraints(max_length=300, pattern=PLAIN)]
Version = Annotated[int, Field(ge=0, lt=1 << 53)]


class NeedsRequest(_In):
    """What a consumer has to hold; what is left out is as for our own trust domain."""

    trust_domains: list[Word] | None = Field(default=None, max_length=50)
    bundle: list[Format] | None = Field(
        default=None, max_length=16, description="pem, der, pkcs7, pkcs12, spiffe, jwks"
    )
    crl: Format | None = Field(default=None, description="none, complete, shards or delta")
    crl_formats: list[Format] | None = Field(default=None, max_length=8, description="pem, der")


class ConsumerRequest(_In):
    """Whoever must hold trust bundles and CRLs."""

    name: Word
    kind: Kind = "other"
    owner: Word | None = None
    needs: NeedsRequest = NeedsRequest()
    publisher: Word = "pull"
    settings: Settings = Field(default={}, description="of the publisher; a place of the settings by its name")
    probe: Text = Field(
        default="", description="`https:host:port[/path]`, `tls:host:port`, `mqtts:host:port`; `?name=`"
    )
    identities: list[Text] = Field(
        default=[],
        max_length=20,
        description="who acknowledges: `token:NAME`, `jwt:ISSUER:SUBJECT`, or a certificate's `name:uri:spiffe://...`",
    )
    gates: bool = Field(default=True, description="whether rotations wait for it")
    fresh_within: DurationText = Field(default="1h", description="how old what it holds may be before that is an alarm")
    makes_secret: bool = Field(default=False, description="make a secret that it signs acknowledgements with")


class ConsumerChange(_In):
    """What a consumer shall be from now on; what is left out stays."""

    kind: Kind | None = None
    owner: Word | None = None
    needs: NeedsRequest | None = None
    publisher: Word | None = None
    settings: Settings | None = Field(default=None, description="all of them")
    probe: Text | None = None
    identities: list[Text] | None = Field(default=None, max_length=20)
    gates: bool | None = None
    fresh_within: DurationText | None = None


class ReportRequest(_In):
    """That a version is held: what a consumer says of itself."""

    stream: Stream
    version: Version
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="of the manifest")
    at: Annotated[int, Field(ge=0, lt=1 << 40)] = Field(description="seconds since the epoch, by its own clock")
    state: Literal["loaded", "refused"] = "loaded"
    reason: Annotated[str, StringConstraints(max_length=300, pattern=PLAIN)] = ""


class SignedReport(ReportRequest):
    """The same, signed with the secret of the consumer that it names: for the description of the API alone."""

    consumer: Word


class AnchorsRequest(_In):
    """The trust anchors of another trust domain, PEM: they replace those that were there."""

    certificates: Pem
