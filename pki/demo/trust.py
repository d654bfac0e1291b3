"""Who must trust the CA: a gateway that is brought bundle and CRLs, a host that fetches them, and what both prove.

Each step does one thing, shows it, and fails if it went otherwise, as in `story.py`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from ca.errors import Defect, Unavailable
from ca.secret import Secret
from pki.client.rest import Client
from pki.demo.gateway import Gateway, knock
from pki.demo.host import Host
from pki.demo.voice import Voice
from pki.demo.world import DOMAIN, World
from pki.following import Following

PATIENCE = 60.0
"""Seconds until something that does not come to pass is given up."""
PAUSE = 0.1
GATEWAY, HOST = "gateway", "visitors"


class Trust:
    """Tells of the consumers of one installation."""

    def __init__(self, world: World, voice: Voice, client: Client) -> None:
        self._world, self._voice, self._client = world, voice, client
        self._title, self._say, self._command = voice.title, voice.say, voice.command

    def brought(self, gateway: Gateway) -> None:
        """Make the gateway a consumer, and wait until a handshake with it has shown that it trusts our CA."""
        self._title("The gateway is brought what it has to trust")
        probe = f"tls:127.0.0.1:{gateway.port}"
        self._command(f"consumer add {GATEWAY} --directory {gateway.directory} --reload ... --probe {probe}")
        started = time.monotonic()
        settings = {"directory": str(gateway.directory), "reload": gateway.reload}
        body = {"name": GATEWAY, "kind": "proxy", "publisher": "files", "settings": settings, "probe": probe}
        self._client.post("/consumers", body)
        self._until(GATEWAY, lambda row: _holds(row, "trust"))
        took = time.monotonic() - started
        self._say(f"bundle.pem and crl.pem written, reloaded, and [green]proved by a handshake[/], {took:.1f} s later")

    def refused(self, gateway: Gateway, workload: Path, revoked_at: float) -> None:
        """Wait until the gateway refuses a revoked workload. Nobody brings it anything but the server."""
        self._title("The same TLS server refuses it, and nobody has touched it")
        while (answer := knock(gateway.port, self._world.trusted, workload)) is None:
            if time.monotonic() - revoked_at > PATIENCE:
                raise Defect("the gateway still accepts a revoked certificate")
            time.sleep(PAUSE)
        took = time.monotonic() - revoked_at
        self._say(f"[red]refused[/]: {escape(answer)}, {took:.1f} s after the revocation, which came by itself")

    def follows(self, directory: Path) -> Host:
        """Make a consumer of a host that begins with the root alone, and wait until it has said what it holds."""
        self._title("A host fetches by itself, and signs what it holds")
        self._command(f"consumer add {HOST} --secret")
        secret = Secret(self._client.post("/consumers", {"name": HOST, "kind": "host", "makes_secret": True})["secret"])
        base = f"http://127.0.0.1:{self._world.plain}"
        told = f"--directory {directory} --consumer {HOST} --secret-file ..."
        self._command(f"bundle follow {base} --trust-domain {DOMAIN} --root trusted.pem {told}")
        following = Following(base, DOMAIN, self._world.trusted, directory, consumer=HOST, secret=secret)
        host = Host(following)
        try:
            self._until(HOST, lambda row: row["is_current"])
        except BaseException:
            host.close()
            raise
        self._say("fetched over plain HTTP, believed for its signature alone, and [green]acknowledged[/]")
        return host

    def shown(self) -> None:
        """Show who holds what, once everybody was proved to hold the newest."""
        self._title("Who holds what")
        end = time.monotonic() + PATIENCE
        while not all(row["is_current"] for row in self._client.get("/consumers")["items"]):
            if time.monotonic() > end:
                raise Unavailable("not everybody was proved to hold the newest")
            time.sleep(PAUSE)
        self._voice.screen("consumer list", self._voice.screens.consumers)

    def _until(self, name: str, holds: Any) -> dict[str, Any]:
        """The consumer once something holds of it."""
        end = time.monotonic() + PATIENCE
        while True:
            row: dict[str, Any] = self._client.get(f"/consumers/{name}")
            if holds(row):
                return row
            if time.monotonic() > end:
                why = row["error"] or next(iter(row["alarms"].values()), "it takes too long")
                raise Unavailable(f"{name} was not proved to hold what it needs: {why}")
            time.sleep(PAUSE)


def _holds(row: dict[str, Any], kind: str) -> bool:
    return all(one["held_version"] > 0 for one in row["holds"] if one["stream"].startswith(f"{kind}:"))
