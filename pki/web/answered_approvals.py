"""What the API answers about acts that take two persons."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ApprovalView(BaseModel):
    """One act that somebody wants to do, once."""

    id: int
    act: str
    subject: str
    details: dict[str, Any] = Field(description="what else decides what will be done; exactly this is granted")
    state: str = Field(description="waits, granted, refused, used or expired")
    asked_by: str
    asked_at: str
    expires_at: str
    decided_by: str | None
    decided_at: str | None
    used_at: str | None
