"""Where the data that travels with the program is: in a wheel inside this package, in a checkout beside it."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent


def data(name: str) -> Path:
    """The directory `config` or `templates`."""
    packaged = _HERE / "_data" / name
    return packaged if packaged.is_dir() else _HERE.parent / name
