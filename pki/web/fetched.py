"""What strangers fetch: routes for GET and HEAD, and answers that caches may keep and ask about again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, Request
from starlette.responses import Response

from pki.web.described import bytes_of

Handler = Callable[..., Response]
CRL_TYPE = "application/pkix-crl"
CERTIFICATE_TYPE = "application/pkix-cert"
PEM_TYPE = "application/x-pem-file"
MAX_AGE = 300
"""Seconds for which a cache may keep a CRL: the time by which it may delay a revocation."""


def fetched(router: APIRouter, path: str, *media_types: str, summary: str) -> Callable[[Handler], Handler]:
    """A route for GET, and for HEAD, which is not worth a line of its own in the description."""

    def register(handler: Handler) -> Handler:
        router.add_api_route(
            path,
            handler,
            methods=["GET"],
            summary=summary,
            response_class=Response,
            responses={**bytes_of(*media_types), 304: {"description": "What the consumer has is the newest"}},
        )
        router.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)
        return handler

    return register


def cached(
    request: Request, content: bytes, tag: str, media_type: str, max_age: int, headers: Mapping[str, str] | None = None
) -> Response:
    """The content under a strong ETag; 304 for who has it already (RFC 9110 section 13.1.2)."""
    named = {"ETag": f'"{tag}"', "Cache-Control": f"public, max-age={max_age}", **(headers or {})}
    if _is_held(request, tag):
        return Response(status_code=304, headers=named)
    return Response(content, headers=named, media_type=media_type)


def _is_held(request: Request, tag: str) -> bool:
    asked = request.headers.get("if-none-match", "")
    return f'"{tag}"' in (part.strip().removeprefix("W/") for part in asked.split(",")) or asked.strip() == "*"
