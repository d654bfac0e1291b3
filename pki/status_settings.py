"""The settings of revocation lists and of OCSP; as `pki/settings.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from ca.profiles.config import Duration, format_duration
from pki.lifecycle_settings import Table

Rate = Annotated[float, Field(gt=0, le=1_000_000)]
"""Requests a second; the bound keeps out infinity, which would be no limit, and NaN."""
Burst = Annotated[int, Field(ge=1, le=1_000_000)]


class CrlSettings(Table):
    """How revocation lists are made."""

    shards: int = Field(default=128, ge=0, le=4096)
    lifetime: Duration = timedelta(hours=72)
    refresh: Duration = timedelta(hours=12)
    backdate: Duration = timedelta(seconds=60)

    @field_validator("refresh", "backdate")
    @classmethod
    def _is_within_the_lifetime(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        lifetime = info.data.get("lifetime")
        if lifetime is not None and value >= lifetime:
            raise ValueError(
                f"{format_duration(value)} is not shorter than crl.lifetime, {format_duration(lifetime)}: consumers "
                "would be left without a list that holds"
            )
        return value


class OcspSettings(Table):
    """How answers about one certificate are made, and how many one address may have signed for it alone."""

    lifetime: Duration = Field(default=timedelta(hours=4), ge=timedelta(minutes=5), le=timedelta(days=7))
    refresh: Duration = timedelta(hours=2)
    backdate: Duration = timedelta(seconds=60)
    live_per_second: Rate = 100.0
    live_burst: Burst = 1000

    @field_validator("refresh", "backdate")
    @classmethod
    def _is_within_half_of_the_lifetime(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        lifetime = info.data.get("lifetime")
        if lifetime is not None and value > lifetime / 2:
            raise ValueError(
                f"{format_duration(value)} is more than half of ocsp.lifetime, {format_duration(lifetime)}: caches "
                "would be left with answers that end too soon"
            )
        return value
