"""A consumer behind an MQTT broker, as small as one can be: reads `current`, then what it names, and reports.

It looks twice, at `current` and at the files, and once more at both if `current` has changed or a file is gone: then
others have followed. It believes hashes, and where it has an anchor, the signed manifests.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.publication.manifest import Manifest
from ca.publication.opening import Held, open_signed, unverified
from renewers.brokers import Broker
from renewers.brokers.link import Link, linked
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, signature_of

PATIENCE, MOST = 60.0, (1 << 28) - 1


def look(broker: Broker, topic: str) -> dict[str, bytes] | None:
    """The files that are in use, in one look of somebody who has just come."""
    with linked(broker, most=MOST) as link:
        pointer = link.retained(f"{topic}/current")
        if pointer is None:
            return None
        files, _ = whole(link, topic, pointer)
        return files


def whole(link: Link, topic: str, pointer: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """All files of what `current` says, or of what it says once they are gone; and what it said."""
    deadline = time.monotonic() + PATIENCE
    said = json.loads(pointer)
    files: dict[str, bytes] = {}
    link.subscribe(f"{topic}/versions/{said['version']}/+")
    while time.monotonic() < deadline:
        for heard in link.hear(0.02):
            link.took(heard)
            if heard.topic == f"{topic}/current":
                if heard.payload.startswith(b"{") and json.loads(heard.payload)["version"] != said["version"]:
                    said, files = json.loads(heard.payload), {}
                    link.subscribe(f"{topic}/versions/{said['version']}/+")
            elif heard.topic.startswith(f"{topic}/versions/{said['version']}/"):
                files[heard.topic.rpartition("/")[2]] = heard.payload
        if said["files"] == {n: {"sha256": sha256(c).hexdigest(), "size": len(c)} for n, c in files.items() if c}:
            return {name: content for name, content in files.items() if content}, said
    raise AssertionError(f"{topic}/current names {said['files']}, and there are {sorted(files)}")


@dataclass
class Consumer:
    """Keeps a directory as `topic` has it, and reports what it holds, signed with `secret`, until it is stopped."""

    broker: Broker
    topic: str
    directory: Path
    name: str = "edge"
    reports_to: str | None = None
    secret: str | None = None
    anchors: Sequence[bytes] = ()
    after: Callable[[], None] = lambda: None
    """What has its user read again."""
    held: dict[str, Held] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Consumer:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with linked(self.broker, most=MOST) as link:
                    self._follow(link)
            except NotDelivered:
                self._stop.wait(0.1)

    def _follow(self, link: Link) -> None:
        pointer = link.retained(f"{self.topic}/current")
        while not self._stop.is_set():
            if pointer is not None and pointer.startswith(b"{"):
                self._take(link, pointer)
            pointer = None
            for heard in link.hear(0.05):
                link.took(heard)
                if heard.topic == f"{self.topic}/current":
                    pointer = heard.payload

    def _take(self, link: Link, pointer: bytes) -> None:
        files, said = whole(link, self.topic, pointer)
        try:
            manifests = self._checked(files)
        except BadRequest as error:
            self.refused.append(error.code)
            return
        self._write(said["version"], files)
        self.after()
        self.versions.append(said["version"])
        for manifest in manifests:
            self._report(link, manifest)

    def _checked(self, files: dict[str, bytes]) -> list[Manifest]:
        """The manifests that it came with, each of which goes on from the one that is held."""
        found = []
        for name, signed in files.items():
            if name.endswith(".jws") and self.anchors:
                claimed = unverified(signed)
                manifest = open_signed(
                    signed,
                    self.anchors,
                    trust_domain=claimed.trust_domain,
                    stream=claimed.stream,
                    now=clock.timestamp(),
                    held=self.held.get(claimed.stream),
                )
                found.append(manifest)
        self.held |= {one.stream: Held(one.version, one.sha256) for one in found}
        return found

    def _write(self, version: str, files: dict[str, bytes]) -> None:
        """A directory of its own, and a link that is exchanged."""
        home = self.directory / version
        home.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (home / name).write_bytes(content)
        aside = self.directory / f".live-{secrets.token_hex(4)}"
        aside.symlink_to(version)
        aside.replace(self.directory / "live")

    def _report(self, link: Link, manifest: Manifest) -> None:
        if self.reports_to is None or self.secret is None:
            return
        report = {
            "consumer": self.name,
            "stream": manifest.stream,
            "version": manifest.version,
            "sha256": manifest.sha256,
            "at": clock.timestamp(),
        }
        link.tell(f"{self.reports_to}/reports/{self.name}", message(self.secret, report), retain=False)


def message(secret: str, report: dict[str, Any], at: int | None = None) -> bytes:
    """A signed report as one message."""
    body, name = json.dumps(report, sort_keys=True, separators=(",", ":")), f"report.{secrets.token_hex(8)}"
    now = clock.timestamp() if at is None else at
    signature = signature_of(secret, name, now, body.encode())
    return json.dumps({ID: name, TIMESTAMP: str(now), SIGNATURE: signature, "body": body}).encode()
