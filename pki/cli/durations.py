"""Durations as people write them on the command line, and as they are told them."""

from __future__ import annotations

import typer


def seconds(duration: str, option: str) -> int:
    """How long `30d` is; wrong usage names the option that does not say a duration."""
    from ca.profiles.config import parse_duration

    try:
        return int(parse_duration(duration).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def lasting(seconds: float) -> str:
    """A time span to two places: `4 s`, `2 min 5 s`, `3 h`, `12 d 4 h`."""
    left, said = max(0, round(seconds)), []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            said.append(f"{count} {name}")
        elif said:
            break
    return " ".join(said[:2]) or "0 s"
