"""Durations as people write them on the command line."""

from __future__ import annotations

import typer


def seconds(duration: str, option: str) -> int:
    """How long `30d` is; wrong usage names the option that does not say a duration."""
    from ca.profiles.config import parse_duration

    try:
        return int(parse_duration(duration).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
