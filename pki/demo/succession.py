"""A root is rotated while visitors come and go: each stage as it passes, the holders who renew, and nobody turned away.

Each step does one thing, shows it, and fails if it went otherwise, as in `story.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from ca.errors import Defect, Unavailable
from pki.client.rest import Client
from pki.demo.gateway import Gateway, knock
from pki.demo.host import Host
from pki.demo.upkeep import SHOP
from pki.demo.voice import Voice
from pki.demo.website import Visitors, Website, visit

REASON = "to show that nobody notices"
PATIENCE = 120.0
"""Seconds until a rotation that makes no step is given up."""
PAUSE = 0.1


@dataclass(slots=True)
class Holder:
    """Somebody who renews by itself: where its certificate and key are, which is another directory after a renewal."""

    name: str
    own: Path


class Succession:
    """Tells of one rotation, from its start to the last CRL of the old root."""

    def __init__(self, voice: Voice, client: Client, renew: Callable[[Path, Path], None]) -> None:
        self._voice, self._client, self._renew = voice, client, renew
        self._title, self._say, self._command = voice.title, voice.say, voice.command
        self._number = 0

    def rotated(self, gateway: Gateway, website: Website, host: Host, device: Holder, server: Holder) -> None:
        """Rotate the root; visitors trust what the host has, callers of the gateway are the device."""
        self._title("Rotate the root, while visitors come and go")
        self._command(f"ca rotate root --reason '{REASON}' --watch")
        visitors = Visitors(lambda: visit(website.port, host.trusted, SHOP))
        callers = Visitors(lambda: _call(gateway, host, device))
        started = time.monotonic()
        with ExitStack() as coming:
            for each in (visitors, callers):
                coming.enter_context(each)
            self._number = self._client.post("/rotations", {"line": "root", "reason": REASON})["id"]
            self._followed(lambda: self._renewed(gateway, device, server))
            _served_again(visitors, callers)
        took = time.monotonic() - started
        if wrong := [*visitors.turned_away, *callers.turned_away]:
            raise Defect(f"visitors were turned away: {wrong[:3]}")
        counts = f"{visitors.served} visitors of the website and {callers.served} callers of the gateway"
        self._say(f"{counts} came meanwhile, in {took:.1f} s, and [green]nobody was turned away[/]")

    def shown(self) -> None:
        """Show the rotation, stage by stage, with its evidence."""
        self._title("By what right each stage was left")
        self._voice.screen(f"rotation show {self._number}", lambda: self._voice.screens.rotation(self._number))

    def _followed(self, drain: Callable[[], None]) -> None:
        """Say each stage when it is left; when leaves have to go, `drain` is what their holders do. Until the end."""
        said: set[str] = set()
        has_drained = False
        end = time.monotonic() + PATIENCE
        while True:
            found: Mapping[str, Any] = self._client.get(f"/rotations/{self._number}")
            if self._say_passed(found, said):
                end = time.monotonic() + PATIENCE
            if found["state"] == "done":
                return
            if found["stage"] == "drain" and not has_drained:
                has_drained = True
                drain()
            if found["state"] != "open" or time.monotonic() > end:
                raise Unavailable(f"the root is not rotated: {found['stage']} waits for {found['waits_for']}")
            time.sleep(PAUSE)

    def _say_passed(self, found: Mapping[str, Any], said: set[str]) -> bool:
        """Whether stages were passed that were not said yet."""
        passed = [one for one in found["stages"] if one["standing"] == "over" and one["evidence"]]
        for one in (new := [one for one in passed if one["stage"] not in said]):
            said.add(one["stage"])
            words = self._voice.screens.evidence(one["stage"], one["evidence"]) or ""
            self._say(f"[cyan]{one['stage']:9}[/]  {escape(words)}")
        return bool(new)

    def _renewed(self, gateway: Gateway, device: Holder, server: Holder) -> None:
        """The holders renew by themselves, as every host with a cron job does; we replace what we renew."""
        for holder in (device, server):
            new = holder.own.with_name(f"{holder.own.name}-2")
            self._command(f"cert renew {holder.own.name}/cert.pem --out {new.name}")
            self._renew(holder.own, new)
            holder.own = new
        gateway.serve_with(server.own)


def _call(gateway: Gateway, host: Host, device: Holder) -> None:
    if (answer := knock(gateway.port, host.trusted, device.own)) is not None:
        raise ConnectionError(answer)


def _served_again(*those: Visitors) -> None:
    """Wait until each has been served once more: the end counts, too."""
    before = [each.served for each in those]
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if all(each.turned_away or each.served > then for each, then in zip(those, before, strict=True)):
            return
        time.sleep(PAUSE)
    raise Unavailable("no visitor was served at the end")
