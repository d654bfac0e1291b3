"""Options that many commands share, and what the options before the noun said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(slots=True)
class Where:
    """Which installation is meant, and with which credential."""

    state: Path | None = None
    server: str | None = None
    token: str | None = None
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


where = Where()
"""Filled by the callback in `app`, once a process."""
