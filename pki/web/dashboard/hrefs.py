"""Addresses of pages: a path with what narrows it, so that every filter and every name is a link. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

CURSOR = "cursor"


def href(path: str, values: Mapping[str, object] | None = None, **changes: object) -> str:
    """A path with its parameters, changed as said. What is empty, None or False is left out; so is an old cursor."""
    merged: dict[str, object] = {**{name: value for name, value in (values or {}).items() if name != CURSOR}, **changes}
    said = {name: _text(value) for name, value in merged.items() if value is not None and value is not False}
    kept = {name: text for name, text in said.items() if text}
    return f"{path}?{urlencode(kept)}" if kept else path


def named(path: str, name: str) -> str:
    """The page of one thing by its name."""
    return f"{path}/{quote(name, safe='')}"


def _text(value: object) -> str:
    return "1" if value is True else str(value)
