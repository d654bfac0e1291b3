"""Retained messages of an MQTT broker: files first, then the one message that puts them into use.

    TOPIC/versions/VERSION/FILE     the files, one message each; the newest three versions stay
    TOPIC/current                   JSON: consumer, version, sha256, at, and files, each with its sha256 and size
    TOPIC/index                     ours: what lies here, written ahead (`shelf.py`)

`current` is told after the broker has acknowledged every file that it names. A subscriber reads `current`, then those
files, checks their hashes and the manifests in them, and begins anew if `current` changes meanwhile: versions that are
gone were followed by others. Everything is at QoS 1. We need to write to TOPIC/#, and to read TOPIC/index.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any

from ca import clock
from ca.errors import NotDelivered
from renewers.brokers import Broker
from renewers.brokers.link import Link, linked
from renewers.publishers import Material, Publisher
from renewers.publishers.naming import one_of, public_files, read_with
from renewers.publishers.shelf import Shelf, Version

LONGEST_TOPIC = 200


def make_mqtt(settings: Mapping[str, Any], *, brokers: Mapping[str, Broker]) -> Publisher:
    """The publisher of one consumer: `broker` names one of the machine's settings. `BadRequest` names what is wrong."""
    readers = {"broker": one_of(brokers, "broker"), "topic": read_topic}
    return Mqtt(**read_with(readers, settings, makes="retained messages", required=("broker", "topic")))


def read_topic(value: Any) -> str:
    """A topic beneath which we may write. `ValueError` says what is wrong with it."""
    if not isinstance(value, str) or not 0 < len(value.encode(errors="replace")) <= LONGEST_TOPIC:
        raise ValueError(f"is not a topic of at most {LONGEST_TOPIC} bytes")
    if not value.isprintable() or any(sign in value for sign in "+#"):
        raise ValueError("has wildcards or control characters in it")
    if value.startswith("$") or not all(value.split("/")):
        raise ValueError("begins with $, or has an empty level")
    return value


class Mqtt:
    """A `Publisher` to one topic. Each call is a connection of its own."""

    keeps_secrets = False

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker = broker
        self._topic = topic

    def stage(self, material: Material) -> None:
        """Tell the files, unless they are there; clear what is too old."""
        files = public_files(material)
        with self._opened() as (link, shelf):
            if shelf.holds(material):
                return
            if material.version in shelf.live:
                raise NotDelivered(f"{material.version} is in use on {self._topic} with other files")
            coming = shelf.announced(material)
            self._write(link, coming)
            for name, content in files.items():
                link.tell(f"{self._path(material.version)}/{name}", content)
            surplus = coming.surplus()
            self._clear(link, [*surplus, *coming.others(material)])
            self._write(link, coming.arrived(material).without(surplus))

    def swap(self, material: Material) -> None:
        """Tell which version is current; of what is current already, once more."""
        public_files(material)
        with self._opened() as (link, shelf):
            if not shelf.holds(material):
                raise NotDelivered(f"{material.version} is not on {self._topic}: it was not staged, or lost")
            if shelf.live != (material.version,):
                both = (*(name for name in shelf.live if name != material.version), material.version)
                self._write(link, replace(shelf, live=both))
            link.tell(f"{self._topic}/current", pointer_to(material))
            if shelf.live != (material.version,):
                self._write(link, replace(shelf, live=(material.version,)))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Link, Shelf]]:
        with linked(self._broker) as link:
            yield link, Shelf.read(link.retained(f"{self._topic}/index"))

    def _write(self, link: Link, shelf: Shelf) -> None:
        link.tell(f"{self._topic}/index", shelf.index())

    def _clear(self, link: Link, versions: list[Version]) -> None:
        """A retained message without content is no message (MQTT 5, section 3.3.1.3)."""
        for version in versions:
            for name in version.files:
                link.tell(f"{self._path(version.name)}/{name}", b"")

    def _path(self, version: str) -> str:
        return f"{self._topic}/versions/{version}"


def pointer_to(material: Material) -> bytes:
    """What `current` says: JSON with sorted keys."""
    files = {n: {"sha256": sha256(c).hexdigest(), "size": len(c)} for n, c in public_files(material).items()}
    said = {
        "consumer": material.subject,
        "version": material.version,
        "sha256": material.sha256,
        "at": clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "files": files,
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
