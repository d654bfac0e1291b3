"""What is answered about backups."""

from __future__ import annotations

from pydantic import BaseModel, Field


class BackupView(BaseModel):
    """A backup that is there."""

    file: str = Field(description="its path on the server")
    made_at: str = Field(description="RFC 3339, UTC")
    bytes: int


class BackupPage(BaseModel):
    """All of them, the newest first."""

    items: list[BackupView]


class BackupMade(BackupView):
    """The one that was just made."""

    rows: int
    ledger_size: int = Field(description="how many entries its signed head covers")


class FindingView(BaseModel):
    """One thing that was looked at."""

    check: str
    level: str = Field(description="ok, warning, problem or skipped")
    message: str
    advice: str | None = Field(description="what to do")


class DoctorReport(BaseModel):
    """Everything that was looked at."""

    findings: list[FindingView]
