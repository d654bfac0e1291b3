"""`certwright report`: letters to owners. What one would say is `report_preview.py`."""

from __future__ import annotations

import typer

app = typer.Typer(help="Letters to owners: what they say, which were sent, and why.", no_args_is_help=True)
