"""The settings of consumers, of the places that publishers bring things to, and of rotations; as `pki/settings.py`.

Where this installation connects to is said here and nowhere else: a consumer or destination names one of these places,
so that neither a token nor a row of the database chooses a host.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, StringConstraints, field_validator, model_validator

from ca.profiles.config import Duration
from pki.lifecycle_settings import OutwardUrl, Table, Word

Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
Topic = Annotated[str, StringConstraints(pattern=r"^$|^[^\x00-\x1f#+$/][^\x00-\x1f#+]{0,200}$")]
"""An MQTT topic without wildcards, or empty."""


class PushSettings(Table):
    """A place that takes bundles and CRLs by a signed POST."""

    name: Word
    url: OutwardUrl
    secret_file: str
    ca_file: str = ""


class BrokerSettings(Table):
    """An MQTT broker; with `reports`, acknowledgements are read beneath that topic."""

    name: Word
    host: Host
    port: int = Field(default=8883, ge=1, le=65535)
    tls: bool = True
    ca_file: str = ""
    username: str = ""
    password_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    reports: Topic = ""


class ObjectStoreSettings(Table):
    """A bucket of an S3-compatible object store."""

    name: Word
    endpoint: OutwardUrl
    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    region: str = "us-east-1"
    access_key_id: str
    secret_file: str
    ca_file: str = ""
    conditional: bool = True


class ClusterSettings(Table):
    """A Kubernetes API; the token file is read again each time, since projected tokens change."""

    name: Word
    server: OutwardUrl
    ca_file: str = ""
    token_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class PlaceSettings(Table):
    """Where publishers may bring something, by name."""

    pushes: list[PushSettings] = Field(default=[])
    brokers: list[BrokerSettings] = Field(default=[])
    stores: list[ObjectStoreSettings] = Field(default=[])
    clusters: list[ClusterSettings] = Field(default=[])

    @field_validator("pushes", "brokers", "stores", "clusters")
    @classmethod
    def _names_are_one(cls, value: list[Any]) -> list[Any]:
        names = [each.name for each in value]
        if len(set(names)) != len(names):
            raise ValueError("each has a name of its own")
        return value


class ConsumerSettings(Table):
    """How consumers are looked after."""

    probe_every: Duration = timedelta(minutes=10)
    canary_every: Duration = timedelta(minutes=10)
    long_polls: int = Field(default=2000, ge=1, le=20000)


class RotationSettings(Table):
    """When CAs are rotated by themselves, and what a rotation waits for."""

    automatic: bool = True
    consumers: float = Field(default=1.0, gt=0, le=1)
    leaves_left: int = Field(default=0, ge=0)
    per_minute: int = Field(default=600, ge=1, le=100_000)

    @model_validator(mode="after")
    def _is_evidence(self) -> RotationSettings:
        if self.consumers < 0.5:
            raise ValueError("a rotation that waits for less than half of the consumers waits for nothing")
        return self
