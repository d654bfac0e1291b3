"""How values are chosen: something good or, as often as a case is bold, something odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Choosing(Protocol):
    """Chooses something good or, as often as the case is bold, something odd."""

    def __call__(self, good: Sequence[Any], odd: Sequence[Any]) -> Any: ...
