"""Where browsers reach us. What a request says of that is believed only if it is one of our names."""

from __future__ import annotations

from starlette.requests import Request

from ca.errors import Misconfigured
from pki.product import Product


def own_url(product: Product, request: Request | None = None) -> str:
    """https://host:port of the TLS listener as browsers reach it: a setting, or one of the names that it listens as."""
    if product.settings.mail.link_url:
        return product.settings.mail.link_url.rstrip("/")
    names = product.settings.listen.names
    if request is not None and request.url.scheme == "https":
        if (request.url.hostname or "") not in names:
            hint = "mail.link_url in the settings says what this host is called"
            raise Misconfigured("nobody knows this host by the name that was asked for", hint=hint)
        return f"https://{request.url.netloc}"
    host, port = names[0], product.settings.listen.tls.rpartition(":")[2]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
