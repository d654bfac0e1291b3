"""How the demo speaks: numbered titles, the command that does the same, and what came of it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

INDENT = 3


@dataclass(frozen=True, slots=True)
class Screens:
    """What commands print that the story shows as they do; the command brings them along."""

    consumers: Callable[[], None]
    rotation: Callable[[int], None]
    evidence: Callable[[str, Mapping[str, Any]], str | None]
    """By what right a stage was left, in words."""


class Voice:
    """Speaks on standard output. Texts are Rich's markup, except titles and commands, which are plain."""

    def __init__(self, screens: Screens) -> None:
        self.screens = screens
        self._out = Console(highlight=False)
        self._step = 0

    def title(self, text: str) -> None:
        """Begin the next step."""
        self._step += 1
        self._out.print()
        self._out.print(Rule(f"[bold]{self._step}. {escape(text)}", align="left", style="dim"))

    def command(self, text: str) -> None:
        """Name the command that does what this step does."""
        self._out.print(Padding(f"[dim]$ certwright {escape(text)}[/]", (0, 0, 0, 3), expand=False))

    def say(self, text: str) -> None:
        """Say what came of it."""
        self._out.print(Padding(text, (0, 0, 0, 3), expand=False))

    def screen(self, command: str, show: Callable[[], None]) -> None:
        """Name a command and show what it prints, as wide as there is room for it."""
        self.command(command)
        width = {"COLUMNS": str(self._out.width - INDENT)}
        colours = {"FORCE_COLOR": "1"} if self._out.is_terminal else {}
        with redirect_stdout(io.StringIO()) as printed, _environment(width | colours):
            show()
        for line in printed.getvalue().splitlines():
            self._out.print(Text(" " * INDENT).append_text(Text.from_ansi(line)), soft_wrap=True)

    def frame(self, text: str) -> None:
        """Say something that stands for itself."""
        if self._step:
            self._out.print()
        self._out.print(Panel(text, expand=False))

    def to_copy(self, lines: Iterable[str]) -> None:
        """Lines to be copied, hence without a frame and never folded."""
        for line in lines:
            self._out.print(line, soft_wrap=True)

    def aside(self, text: str) -> None:
        """Say something that is no part of the story."""
        self._out.print(f"[dim]{text}[/]")


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
