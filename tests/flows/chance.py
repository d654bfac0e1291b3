"""Chance that is always the same: a simulation that found something wrong finds it again."""

from __future__ import annotations

from hashlib import sha256


def chance(*parts: object) -> float:
    """From 0 to below 1, always the same for the same parts."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:6], "big") / (1 << 48)
