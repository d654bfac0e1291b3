"""What OpenAPI cannot work out for itself: refusals are problem documents, and not everything is JSON."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from pki.web.answered import Problem
from pki.web.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
JSON: dict[str, Any] = {"type": "object"}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
REFUSALS: Responses = {
    "4XX": {"description": "Refused, with the reason", "content": {MEDIA_TYPE: {"schema": _PROBLEM}}},
    "5XX": {"description": "Not now, or an error of ours", "content": {MEDIA_TYPE: {"schema": _PROBLEM}}},
}
"""Every operation may be answered so (RFC 9457)."""


def bytes_of(*media_types: str) -> Responses:
    """A success that is answered with bytes, of one of these types."""
    return _success({one: JSON if one == "application/json" else BYTES for one in media_types})


def text_of(media_type: str) -> Responses:
    """A success that is answered with text."""
    return _success({media_type: {"type": "string"}})


def describe(app: FastAPI) -> None:
    """Add the problem document to the schemas that the description names."""
    original = app.openapi

    def described() -> dict[str, Any]:
        document = original()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema(ref_template="#/components/schemas/{model}"))
        schemas |= schemas["Problem"].pop("$defs", {})
        return document

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's documented way to extend the description


def _success(schemas: dict[str, dict[str, Any]]) -> Responses:
    content = {media_type: {"schema": schema} for media_type, schema in schemas.items()}
    return {200: {"description": "The content", "content": content}}
