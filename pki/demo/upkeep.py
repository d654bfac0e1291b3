"""The second half of the story: a certificate with an owner, renewed and brought to a website that serves on.

Each step does one thing, shows it, and fails if it went otherwise, as in `story.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.markup import escape

from ca.errors import Defect, Unavailable
from pki.client.rest import Client
from pki.demo.voice import Voice
from pki.demo.website import Visitors, Website, visit
from pki.demo.world import DOMAIN, World

OWNER, EMAIL = "web", f"web@{DOMAIN}"
SHOP = f"shop.{DOMAIN}"
PATIENCE = 60.0
"""Seconds until a renewal that has not come to its end is given up."""
PAUSE = 0.1


class Upkeep:
    """Tells of one lineage, from its plan to its second certificate."""

    def __init__(self, world: World, voice: Voice, client: Client, website: Website) -> None:
        self._world, self._client, self._website = world, client, website
        self._title, self._say, self._command = voice.title, voice.say, voice.command
        self._bundle = world.trusted

    def begin(self, bundle: Path) -> None:
        """Plan it, bring it to the website, renew it there; `bundle` is what its visitors trust."""
        self._bundle = bundle
        self._planned()
        self._brought()
        self._renewed()

    def end(self, gateway: int) -> None:
        """Look at everything; `gateway` is the port of the other TLS server that there is to find."""
        self._scanned(gateway)
        self._well()

    def _planned(self) -> None:
        self._title("A certificate that is renewed for somebody")
        self._command(f"owner add {OWNER} --email {EMAIL}")
        self._client.post("/owners", {"name": OWNER, "email": EMAIL})
        self._command(f"track add {SHOP} --owner {OWNER}")
        self._client.post("/lineages", {"name": SHOP, "names": [SHOP], "owner": OWNER})
        self._say(f"from now on [green]{SHOP}[/] has a certificate, renewed in time; {EMAIL} answers for it")

    def _brought(self) -> None:
        self._title("It is brought to the website, and seen there")
        probe, directory = f"127.0.0.1:{self._website.port}#{SHOP}", self._website.directory
        options = f"--directory {directory} --reload '{' '.join(self._website.reload)}' --probe {probe}"
        self._command(f"destination add website --lineage {SHOP} {options}")
        started = time.monotonic()
        settings = {"directory": str(directory), "reload": self._website.reload}
        body = {"name": "website", "lineage": SHOP, "settings": settings, "probe": probe, "bundle": str(self._bundle)}
        self._client.post("/destinations", body)
        row = self._when(lambda row: row["current"] is not None)
        took = time.monotonic() - started
        if not directory.is_relative_to(self._world.directory.resolve()):
            self._say("(others may write where the demo is, and nothing is brought there: hence a directory elsewhere)")
        self._say(f"issued, written, reloaded, and [green]seen in a handshake[/], {took:.1f} s later")
        self._say(f"{row['current']} until {row['not_after']}, trusted by those who trust what the host has")

    def _renewed(self) -> None:
        self._title("Renew it while visitors come and go")
        self._command(f"renew now {SHOP}")
        before, old = self._client.get(f"/lineages/{SHOP}"), self._shown()
        with Visitors(self._visit) as visitors:
            self._client.post(f"/lineages/{SHOP}/renew", {})
            row = self._when(lambda row: row["current"] != before["current"])
        new = self._shown()
        if visitors.turned_away or not visitors.served:
            raise Defect(f"visitors were turned away: {visitors.turned_away[:3]}")
        if new.serial_number == old.serial_number or _key(new) == _key(old):
            raise Defect("what is served after a renewal is not another certificate with another key")
        self._say(f"[green]{row['current']}[/] with a key of its own is served now instead of {before['current']}")
        self._say(f"{visitors.served} visitors came meanwhile, and none was turned away")

    def _scanned(self, gateway: int) -> None:
        self._title("Look at what serves TLS here")
        places = [f"127.0.0.1:{port}" for port in (self._world.tls, gateway, self._website.port)]
        self._command(f"track scan {' '.join(places)}")
        *_, report = self._client.lines("/scans", {"targets": "\n".join(places)})
        if report["seen"] != len(places):
            raise Defect(f"not all of it was found: {report}")
        for row in report["endpoints"]:
            found = f"[yellow]{', '.join(row['findings'])}[/]" if row["findings"] else "[green]nothing is wrong[/]"
            self._say(f"{row['place']} shows {escape(row['shown_as'])}: {found}")

    def _well(self) -> None:
        self._title("Ask whether all is well")
        self._command(f"track show {SHOP}; certwright renew due; certwright alarm list")
        row = self._client.get(f"/lineages/{SHOP}")
        due, alarms = self._due(), self._client.get("/alarms")["items"]
        if row["stage"] != "fine" or due or alarms:
            raise Defect(f"not all is well: {row['stage']}, {due}, {alarms}")
        self._say(f"[green]{row['stage']}[/]: next renewal at {row['due_at']}, late at {row['late_at']}")
        self._say("nothing is due, nothing fails, and nothing is wrong")

    def _due(self) -> list[dict[str, Any]]:
        """What is due: the last pieces of a renewal may be settled a moment after everybody has seen it."""
        end = time.monotonic() + PATIENCE
        while (rows := self._client.get("/renewals")["items"]) and time.monotonic() < end:
            time.sleep(PAUSE)
        return list(rows)

    def _when(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The lineage once something holds of it and its destination was seen serving it."""
        end = time.monotonic() + PATIENCE
        while True:
            row: dict[str, Any] = self._client.get(f"/lineages/{SHOP}")
            if holds(row) and all(one["state"] == "seen" for one in row["destinations"]):
                return row
            errors = [one["last_error"] for one in row["destinations"]] + [(row["work"] or {}).get("error")]
            if any(errors) or time.monotonic() > end:
                raise Unavailable(
                    f"{SHOP} is not seen at its website: {next(filter(None, errors), 'it takes too long')}"
                )
            time.sleep(PAUSE)

    def _shown(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self._visit())

    def _visit(self) -> bytes:
        return visit(self._website.port, self._bundle, SHOP)


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
