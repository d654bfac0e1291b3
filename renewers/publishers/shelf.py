"""What lies on a shelf where only whole messages can be put and nothing can be listed: a small index, written ahead.

Every file that may be there is named in the index before it is put there, and leaves the index after it was cleared. So
whoever died in between has left nothing that is not found again. Pure: `mqtt.py` reads and writes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Self

from renewers.publishers import Material
from renewers.publishers.naming import FILE, VERSION

KEEP = 3
"""How many versions stay; what is in use stays anyway."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its files with their hashes, and whether all of them have arrived."""

    name: str
    sha256: str
    files: Mapping[str, str]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Shelf:
    """Everything that may be there, oldest first; `live` is in use, or two of them while one follows the other."""

    versions: tuple[Version, ...] = ()
    live: tuple[str, ...] = ()

    @classmethod
    def read(cls, index: bytes | None) -> Self:
        """From its index; what is no index of ours, or names what we never would, counts as nothing."""
        try:
            said = json.loads(index or b"{}")
            versions = tuple(_version(each) for each in said.get("versions", ()))
            live = tuple(name for name in said.get("live", ()) if VERSION.fullmatch(name))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            return cls()
        return cls(versions, live)

    def index(self) -> bytes:
        """As it is written."""
        versions = [
            {"version": v.name, "sha256": v.sha256, "files": dict(v.files), "whole": v.is_whole} for v in self.versions
        ]
        return json.dumps({"live": self.live, "versions": versions}, sort_keys=True, separators=(",", ":")).encode()

    def find(self, name: str) -> Version | None:
        """What is there of a version."""
        return next((version for version in self.versions if version.name == name), None)

    def holds(self, material: Material) -> bool:
        """Whether all of it is there, and just this."""
        found = self.find(material.version)
        return found is not None and found == version_of(material, is_whole=True)

    def announced(self, material: Material) -> Shelf:
        """With this as the newest, on its way; files that lay under its name before are still named.

        What is too old now counts as broken from here on: it is cleared file by file.
        """
        before, coming = self.find(material.version), version_of(material, is_whole=False)
        if before is not None:
            coming = replace(coming, files={**before.files, **coming.files})
        found = replace(self, versions=(*(v for v in self.versions if v.name != coming.name), coming))
        going = {version.name for version in found.surplus()}
        left = (replace(each, is_whole=each.is_whole and each.name not in going) for each in found.versions)
        return replace(found, versions=tuple(left))

    def arrived(self, material: Material) -> Shelf:
        """With this there, whole."""
        whole = version_of(material, is_whole=True)
        return replace(self, versions=tuple(whole if v.name == whole.name else v for v in self.versions))

    def others(self, material: Material) -> tuple[Version, ...]:
        """What lies under its name and is not of it."""
        found = self.find(material.version)
        files = {} if found is None else {n: h for n, h in found.files.items() if n not in material.files}
        return (Version(material.version, material.sha256, files, False),) if files else ()

    def surplus(self) -> tuple[Version, ...]:
        """What is too old to stay."""
        return tuple(version for version in self.versions[:-KEEP] if version.name not in self.live)

    def without(self, gone: tuple[Version, ...]) -> Shelf:
        """Without those that were cleared."""
        names = {version.name for version in gone}
        return replace(self, versions=tuple(v for v in self.versions if v.name not in names))


def version_of(material: Material, *, is_whole: bool) -> Version:
    """What the index says of material."""
    files = {name: sha256(content).hexdigest() for name, content in material.files.items()}
    return Version(material.version, material.sha256, files, is_whole)


def _version(said: Any) -> Version:
    """`ValueError` if it names something that we never would."""
    name, files = said["version"], said["files"]
    if not VERSION.fullmatch(name) or not all(FILE.fullmatch(f) and isinstance(h, str) for f, h in files.items()):
        raise ValueError("it names what we never would")
    return Version(name, str(said["sha256"]), dict(files), said["whole"] is True)
