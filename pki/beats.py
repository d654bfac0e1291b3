"""One piece of scheduled work: what a schedule is a list of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pki.product import Product


@dataclass(frozen=True, slots=True)
class Beat:
    """One piece: its name, its beat in seconds, and the function."""

    name: str
    every: int
    run: Callable[[Product], None]
    goes_by_date: bool = False
    """It begins, sends or forgets something because of a date: it waits while the clock cannot be believed."""
