"""What comes in about renewing and bringing: destinations, renewals, forecasts. As `asked.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pki.web.asked import PLAIN, Word, _In
from pki.web.asked_inventory import Line

Value = (
    bool
    | Annotated[int, Field(ge=-(1 << 53), le=1 << 53)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[str, StringConstraints(max_length=4096)]
    | Annotated[list[Annotated[str, StringConstraints(max_length=4096)]], Field(max_length=64)]
)
"""The value of a publisher's setting."""
Settings = Annotated[dict[Word, Value], Field(max_length=32)]
Probe = Annotated[str, StringConstraints(max_length=2048, pattern=PLAIN)]


class DestinationRequest(_In):
    """A place where a lineage's certificate is used."""

    name: Word
    lineage: Word
    publisher: Word = "files"
    settings: Settings = Field(
        default={}, description="of `files`: directory, owner, group, mode, reload (a list of words), keep ..."
    )
    probe: Probe = Field(
        default="", description="where it is seen: `host:port`, `host:port#name`, `smtp://host`; empty: nowhere"
    )
    rank: int = Field(default=0, ge=-1000, le=1000, description="who has a lower one goes first, and is seen first")
    bundle: Line | None = Field(default=None, description="a PEM file of what its own users trust")


class DestinationChange(_In):
    """What a destination shall be from now on; what is left out stays."""

    publisher: Word | None = None
    settings: Settings | None = Field(default=None, description="all of them")
    probe: Probe | None = None
    rank: int | None = Field(default=None, ge=-1000, le=1000)
    bundle: Line | None = None
