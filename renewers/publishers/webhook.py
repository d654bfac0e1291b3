"""A signed push: the whole of the material in one POST, after the Standard Webhooks specification.

The body is JSON: `consumer`, `version`, `sha256`, and `files`, each name with its content in base64. What would be
larger than `MOST_BODY` is pointed to instead: `"fetch": true` and `items`, each name with `sha256` and `size`, for the
receiver to fetch. A 2xx says that it was received, which proves nothing yet: its receiver checks the manifests in it,
puts all of it into use in one step, and acknowledges. `renewers/notifiers/signature.py` is for the other side to copy.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ca import clock
from ca.errors import Misconfigured
from ca.secret import Secret
from renewers import egress
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, key_of, signature_of
from renewers.publishers import Material, Publisher
from renewers.publishers.naming import one_of, public_files, read_with
from renewers.urls import check_url

MOST_BODY = 64 << 20
PUSH_SECONDS = 60.0
"""Until the head of the answer has come; a body of the largest size has to get there first."""


@dataclass(frozen=True, slots=True)
class PushPlace:
    """A receiver, as the machine's own settings name it: no row says where something is sent."""

    url: str
    secret: Secret
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        """`Misconfigured` if we do not post there; it repeats neither the URL nor the secret."""
        try:
            check_url(self.url)
        except (Misconfigured, ValueError):
            hint = "https://host/path without a password; http is for addresses of this machine alone"
            raise Misconfigured("the URL of a push is none that we post to", hint=hint) from None
        try:
            key_of(self.secret.reveal())
        except ValueError as error:
            raise Misconfigured(str(error), hint="echo whsec_$(openssl rand -base64 32)") from None


def make_webhook(settings: Mapping[str, Any], *, places: Mapping[str, PushPlace]) -> Publisher:
    """The publisher of one consumer: `place` names its receiver. `BadRequest` names what is wrong."""
    readers = {"place": one_of(places, "place to push to")}
    return Push(**read_with(readers, settings, makes="a signed push", required=("place",)))


class Push:
    """A `Publisher` whose receiver gets all in one message: nothing is left there before."""

    keeps_secrets = False

    def __init__(self, place: PushPlace) -> None:
        self._place = place

    def stage(self, material: Material) -> None:
        """See that it can be sent."""
        public_files(material)

    def swap(self, material: Material) -> None:
        """One POST. Each has an id of its own: what is sent once more is to be read once more."""
        body = content_of(material)
        name, now = f"{material.version}.{secrets.token_hex(8)}", clock.timestamp()
        signature = signature_of(self._place.secret.reveal(), name, now, body)
        headers = {"Content-Type": "application/json", ID: name, TIMESTAMP: str(now), SIGNATURE: signature}
        egress.post(self._place.url, body, headers, ca_file=self._place.ca_file, seconds=PUSH_SECONDS)


def content_of(material: Material) -> bytes:
    """The body of a push: JSON with sorted keys."""
    files = public_files(material)
    said: dict[str, Any] = {"consumer": material.subject, "version": material.version, "sha256": material.sha256}
    if sum(4 * (len(content) // 3 + 1) + 2 * len(name) for name, content in files.items()) <= MOST_BODY:
        said["files"] = {name: b64encode(content).decode() for name, content in files.items()}
    else:
        said["fetch"] = True
        said["items"] = {n: {"sha256": sha256(c).hexdigest(), "size": len(c)} for n, c in files.items()}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
