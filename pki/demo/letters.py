"""An owner is written to about what only a person can renew; and one page says where everything stands.

Each step does one thing, shows it, and fails if it went otherwise, as in `story.py`. Letters are files here: the demo
has no mail server, and nobody to write to.
"""

from __future__ import annotations

import time
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from rich.markup import escape

from ca import clock, files
from ca.errors import Defect, Unavailable
from ca.keys.algorithms import KeyType
from pki.client.rest import Client
from pki.demo.upkeep import EMAIL, OWNER
from pki.demo.voice import Voice
from pki.demo.world import DOMAIN, World

LEGACY = f"legacy.{DOMAIN}"
LEFT = timedelta(hours=20)
LINES = 14
"""So much of a letter is shown; all of it lies in its file."""
PATIENCE = 60.0
PAUSE = 0.2


class Letters:
    """Tells of one letter, and of the pages."""

    def __init__(self, world: World, voice: Voice, client: Client) -> None:
        self._world, self._client = world, client
        self._title, self._say, self._command = voice.title, voice.say, voice.command

    def told(self) -> None:
        """Track a certificate that somebody else has issued and only a person renews, and read what its owner gets."""
        self._title("Somebody else's certificate ends soon, and only a person can renew it")
        path = self._world.directory / "legacy.pem"
        self._command(f"track import {path.name} --owner {OWNER}")
        pem = _strangers_certificate()
        files.write_new(path, pem.encode())
        (found,) = self._client.post("/tracked", {"items": [{"name": path.name, "pem": pem}], "owner": OWNER})
        if found["refused"]:
            raise Defect(f"a certificate is not tracked: {found}")
        self._say(f"[green]{LEGACY}[/] ends in {int(LEFT.total_seconds()) // 3600} hours, and we cannot renew it")
        self._read(self._sent())
        self._explained()

    def page(self) -> str:
        """Make a link by which a browser is signed in, once."""
        self._title("One page says where everything stands")
        self._command("token sign-in")
        link = str(self._client.post("/sign-in-links", {"lifetime": "1h"})["url"])
        self._say("what needs a person, the calendar of ends, each certificate's story, who holds what")
        self._say("the link signs one browser in, once; it stands at the end of this text")
        return link

    def _sent(self) -> dict[str, Any]:
        self._title("Its owner is written to, once")
        self._command("report send")
        end = time.monotonic() + PATIENCE
        while True:
            for _ in self._client.lines("/letters/run", {}):
                pass
            for row in self._client.get("/letters", owner=OWNER, state="sent")["items"]:
                told = self._client.get(f"/letters/{row['id']}")["crossings"]
                if any(each["subject"] == LEGACY for each in told):  # and not of what was revoked before
                    return dict(row)
            if time.monotonic() > end:
                raise Unavailable("nobody was written to", hint=f"see {self._world.log}")
            time.sleep(PAUSE)

    def _read(self, letter: dict[str, Any]) -> None:
        mail = self._world.mail
        (path,) = [path for path in mail.glob("*.eml") if letter["message_id"] in path.read_text()]
        message = message_from_bytes(path.read_bytes(), EmailMessage, policy=SMTP)
        body = message.get_body(("plain",))
        if message["To"] != EMAIL or body is None or LEGACY not in body.get_content():
            raise Defect(f"a letter is not what it should be: {path}")
        self._say(f"to [green]{escape(letter['recipient'])}[/]: [bold]{escape(letter['subject'])}[/]")
        for line in body.get_content().strip().splitlines()[:LINES]:
            self._say(f"[dim]{escape(line) or ' '}[/]")
        self._say(f"... with a calendar entry and a table, in {escape(str(path))}")

    def _explained(self) -> None:
        self._title("Why was somebody told, or was not?")
        self._command(f"report explain {LEGACY}")
        found = self._client.get("/letters/explain", what=LEGACY)
        told = [step["sentence"] for step in found["steps"] if step["letters"]]
        if not told:
            raise Defect(f"nobody can say who was told of {LEGACY}: {found}")
        for sentence in (*found["summary"], *told):
            self._say(escape(sentence))


def _strangers_certificate() -> str:
    """One of a year, near its end, by a CA that we know nothing of."""
    key, now = KeyType.P256.generate(), clock.now()
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody Else's CA")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LEGACY)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + LEFT - timedelta(days=365)).not_valid_after(now + LEFT)
    names = x509.SubjectAlternativeName([x509.DNSName(LEGACY)])
    made = builder.add_extension(names, critical=False).sign(KeyType.P256.generate(), SHA256())
    return made.public_bytes(Encoding.PEM).decode()
