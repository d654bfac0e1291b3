"""JSON as programs that verify signatures must read it: bounded, each key once, nothing but text, integers and null.

Two readers that see different things in the same bytes are how signed formats are broken: a key that stands twice, a
number that one of them rounds. What is unusual is refused here, before anything is looked up in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from ca.errors import BadRequest

LARGEST_NUMBER = (1 << 63) - 1


def read_object(data: bytes, *, most: int, code: str, what: str) -> dict[str, Any]:
    """The JSON object in `data`; `BadRequest` with `code`, in words about `what`, unless it is a plain one."""
    if len(data) > most:
        raise BadRequest(f"{what} is larger than {most} bytes", code=code)
    try:
        found = json.loads(
            data.decode("ascii"), object_pairs_hook=_unique, parse_float=_refused, parse_constant=_refused
        )
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are the former
        raise BadRequest(f"{what} is no JSON, or is cut off", code=code) from None
    if not isinstance(found, dict):
        raise BadRequest(f"{what} is no JSON object", code=code)
    return found


def write_object(value: dict[str, Any]) -> bytes:
    """The one way to write it: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError("a key stands twice")
        found[key] = value
    return found


def _refused(text: str) -> NoReturn:
    raise ValueError("no such number is expected")
