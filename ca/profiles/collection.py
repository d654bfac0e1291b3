"""All profiles of an installation: one directory, read as a whole or not at all.

`reload()` takes changed files into service without a restart; if one of them is wrong, the old ones stay in force
and the caller gets the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ca.errors import Misconfigured, NotFound
from ca.profiles.dangers import unaccepted
from ca.profiles.profile import Profile, read_profile

EXAMPLES_SUFFIX = ".examples.toml"
BUILT_IN = ("cross-ca", "probe", "publication")
"""What the program itself cannot do without: an installation made before these existed gets the shipped ones."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Profiles:
    """The profiles in force, by name."""

    def __init__(self, directory: Path, variables: Mapping[str, str], *, shipped: Path | None = None) -> None:
        """`shipped` is where the profiles in `BUILT_IN` come from while `directory` has no file of their names."""
        self.directory = directory
        self.shipped = shipped
        self.variables = dict(variables)
        self._stamps: dict[str, tuple[int, int]] = {}
        self._profiles: dict[str, Profile] = {}
        self.reload()

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._profiles.values())

    def __getitem__(self, name: str) -> Profile:
        """The profile, or `NotFound` with the names that there are."""
        if name not in self._profiles:
            raise NotFound(
                f"there is no profile {name!r}", code="unknown-profile", hint=f"there are {', '.join(self._profiles)}"
            )
        return self._profiles[name]

    def has_changed(self) -> bool:
        """Whether a file was added, removed or touched since the last reload."""
        return self._stamp() != self._stamps

    def reload(self) -> list[Profile]:
        """Read the directory; returns the profiles that are new or changed. All or nothing."""
        self._stamps = self._stamp()
        profiles = {path.stem: self._read(path) for path in profile_files(self.directory)}
        if not profiles:
            raise Misconfigured(
                f"there are no profiles in {self.directory}", hint="certwright init writes the first ones"
            )
        profiles |= {name: self._read(path) for name, path in self._built_in() if name not in profiles}
        before, self._profiles = self._profiles, profiles
        return [p for p in profiles.values() if p.name not in before or before[p.name].sha256 != p.sha256]

    def directory_of(self, name: str) -> Path:
        """Where the file of a profile, and its examples, are."""
        return self.directory if (self.directory / f"{name}.toml").exists() else self.shipped or self.directory

    def _built_in(self) -> Iterator[tuple[str, Path]]:
        if self.shipped is not None:
            for name in BUILT_IN:
                yield name, self.shipped / f"{name}.toml"

    def _read(self, path: Path) -> Profile:
        if not _NAME.fullmatch(path.stem):
            raise Misconfigured(f"{path}: a profile's name is of a-z, 0-9 and hyphens")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"cannot read {path}: {error}", code="bad-profile") from None
        profile = read_profile(path.stem, text, self.variables)
        if found := unaccepted(profile):
            raise Misconfigured(
                f"profile {profile.name} is dangerous: " + "; ".join(f"{d.code}: {d.message}" for d in found),
                code="dangerous-profile",
                hint="change it, or list what you want under dangers.accepted where that is possible",
            )
        return profile

    def _stamp(self) -> dict[str, tuple[int, int]]:
        return {
            path.name: (stat.st_mtime_ns, stat.st_size)
            for path in profile_files(self.directory)
            if (stat := path.stat())
        }


def profile_files(directory: Path) -> list[Path]:
    """The profile files of a directory, without the examples beside them."""
    return sorted(path for path in directory.glob("*.toml") if not path.name.endswith(EXAMPLES_SUFFIX))
