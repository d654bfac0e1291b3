"""HTTPS to an installation elsewhere: what is trusted, who we are, and what is wrong with either.

Nothing is trusted but the CA file that is named. What cannot work is said before anything is sent, and a token is
never repeated, not even in part.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import httpx

from ca.errors import Misconfigured
from pki.client.where import where

_TOKEN = re.compile(r"[!-~]+")


def remote(server: str, certificate: Path | None, key: Path | None, timeout: httpx.Timeout) -> httpx.Client:
    """A client for a server, with a client certificate if there is one, else with the token that was given."""
    if not server.startswith("https://"):
        raise Misconfigured(f"{server} is not an https:// URL", hint="a token must not travel in the clear")
    context = _trusting(where.ca_file)
    headers = {}
    if certificate is not None:
        _identify(context, certificate, key)
    elif key is not None:
        raise Misconfigured(f"the key {key} is given without its certificate", hint="pass --certificate, too")
    elif where.token is not None:
        headers["Authorization"] = f"Bearer {_checked(where.token)}"
    try:
        return httpx.Client(base_url=server, verify=context, headers=headers, timeout=timeout, trust_env=False)
    except httpx.InvalidURL as error:
        raise Misconfigured(
            f"{server} is not a URL: {error}", hint="such as https://ca.example.internal:8443"
        ) from None


def _trusting(roots: Path | None) -> ssl.SSLContext:
    hint = "pass --ca-file with its root certificate; certwright ca export --roots writes that"
    if roots is None:
        raise Misconfigured("which CA to trust is not said", hint=hint)
    try:
        return ssl.create_default_context(cafile=str(roots))
    except OSError as error:
        raise Misconfigured(f"there is no root certificate in {roots}: {_reason(error)}", hint=hint) from None


def _identify(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load the client certificate; the passphrase of an encrypted key is asked for."""
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise Misconfigured(f"there is no file {path}", hint="see --certificate and --key")
    try:
        context.load_cert_chain(certificate, key, password=lambda: _ask(key or certificate))
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"{certificate} cannot be used as a client certificate: {_reason(error)}",
            hint="--certificate is PEM, --key the private key that fits it; or use a token",
        ) from None


def _ask(key: Path) -> str:
    import typer

    return str(typer.prompt(f"passphrase of {key}", hide_input=True, err=True))


def _checked(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise Misconfigured(
            "the token is not one: it has characters that no token has",
            hint="copy it again; one of ours begins with cw_",
        )
    return token


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)
