"""Settings of backups."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ca.backup.sealing import read_recipient
from ca.errors import Misconfigured
from ca.profiles.config import Duration


class BackupSettings(BaseModel):
    """Where backups go, how often, how many stay, and who alone can open them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    to: str = ""
    every: Duration = Field(default=timedelta(days=1), ge=timedelta(minutes=5), le=timedelta(days=31))
    keep: int = Field(default=14, ge=1, le=10_000)
    recipient: str = ""

    @field_validator("recipient")
    @classmethod
    def _is_one(cls, value: str) -> str:
        try:
            if value:
                read_recipient(value)
        except Misconfigured as error:
            raise ValueError(error.message) from None
        return value
