"""The headers of every page: what a browser may do with it, which is show it and nothing else."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from renewers.urls import is_loopback

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""No script at all, nothing from elsewhere, in nobody's frame (Content Security Policy level 3)."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
STRICT_TRANSPORT = f"max-age={365 * 86400}"
"""RFC 6797, for this host alone: subdomains are not ours to speak for."""


def secured(request: Request, response: Response) -> Response:
    """The same response with all of them; it is kept by nobody unless it said otherwise itself."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    # On a developer's machine it would bind every other port of `localhost` to TLS.
    if request.url.scheme == "https" and not is_loopback(request.url.hostname or ""):
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT
    return response
