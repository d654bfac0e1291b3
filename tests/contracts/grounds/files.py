"""The ground of the publisher into a directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from renewers.publishers import Publisher
from renewers.publishers.files import make_files
from tests.contracts.grounds.dying import killed


class FilesGround:
    """A directory whose user is a script that notes which version it finds."""

    hidden = ()
    tells_staged = True

    def __init__(self, home: Path) -> None:
        self.directory, self.log, self.broken = home / "certs", home / "reloads", home / "broken"
        script = home / "reload"
        script.write_text('#!/bin/sh\ntest -e "$2" && exit 1\nreadlink "$1/live" >> "$3"\n')
        script.chmod(0o755)
        self.settings: dict[str, Any] = {"directory": str(self.directory), "keep": 100}
        self.settings["reload"] = [str(script), str(self.directory), str(self.broken), str(self.log)]

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_files(settings)

    def live(self) -> dict[str, bytes] | None:
        """Through one look at `live`, as whoever needs several files of one version has to."""
        try:
            inside = os.open(self.directory / "live", os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        try:
            return {name: _read(inside, name) for name in os.listdir(inside)}  # noqa: PTH208 - of what is open
        finally:
            os.close(inside)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        aside = self.directory.with_name("aside")
        if self.directory.exists():
            self.directory.rename(aside)
        self.directory.write_text("in the way")
        yield
        self.directory.unlink()
        if aside.exists():
            aside.rename(self.directory)

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        return killed(lambda: work(self.make(self.settings)), step)

    def read(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line.removeprefix("versions/").partition("+")[0] for line in text.splitlines()]

    def break_reload(self, *, broken: bool) -> None:
        self.broken.touch() if broken else self.broken.unlink()


def _read(inside: int, name: str) -> bytes:
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=inside)) as file:
        return file.read()


@contextmanager
def opened(home: Path) -> Iterator[FilesGround]:
    """A directory that does not exist yet."""
    yield FilesGround(home)
