"""Events as signed POSTs, after the Standard Webhooks specification; `signature.verify` is for the other side to copy.

The body is JSON: `id`, `kind`, `subject`, `severity`, `at` (RFC 3339), `message` and `details`. Any 2xx says that it
was taken. Redirects are not followed, answers are not read, and the URL, which may be a secret, is in no message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ca import clock
from ca.errors import Misconfigured
from ca.secret import Secret
from renewers import egress
from renewers.notifiers import Notice, Selection
from renewers.notifiers.rest import Rest
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, key_of, signature_of
from renewers.urls import check_url

REST = 60.0
"""Seconds for which a receiver is left alone that let us wait in vain."""


class Webhook:
    """A `Notifier` that POSTs to one URL: https, or http on this very machine."""

    def __init__(
        self,
        url: str,
        secret: Secret,
        ca_file: Path | None = None,
        *,
        severity: str = "info",
        kinds: Sequence[str] = ("*",),
        rest: float = REST,
    ) -> None:
        self._url = _checked(url)
        try:
            key_of(secret.reveal())
        except ValueError as error:
            raise Misconfigured(str(error), hint="echo whsec_$(openssl rand -base64 32)") from None
        self._secret = secret
        self._ca_file = ca_file
        self._selection = Selection(severity, kinds)
        self._rest = Rest(urlsplit(url).netloc, rest)

    def wants(self, notice: Notice) -> bool:
        """What its settings select."""
        return self._selection.takes(notice)

    def tell(self, notice: Notice) -> None:
        """One POST. The same event has the same id and body every time, and the time and signature of the attempt."""
        body, name, now = content_of(notice), f"event-{notice.id}", clock.timestamp()
        signature = signature_of(self._secret.reveal(), name, now, body)
        headers = {"Content-Type": "application/json", ID: name, TIMESTAMP: str(now), SIGNATURE: signature}
        with self._rest.trying():
            egress.post(self._url, body, headers, ca_file=self._ca_file)


def content_of(notice: Notice) -> bytes:
    """The body of a notice: JSON with sorted keys."""
    details = {name: value for name, value in notice.body.items() if name != "message"}
    said = {
        "id": notice.id,
        "kind": notice.kind,
        "subject": notice.subject,
        "severity": notice.severity,
        "at": clock.from_timestamp(notice.at).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "message": notice.body.get("message", ""),
        "details": details,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


def _checked(url: str) -> str:
    """The URL, if it is one that we post to; the refusal does not repeat it."""
    try:
        return check_url(url)
    except (Misconfigured, ValueError):
        hint = "https://host/path without a password; http is for addresses of this machine alone"
        raise Misconfigured("the URL of a webhook is none that events are sent to", hint=hint) from None
