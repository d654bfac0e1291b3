"""`certwright demo`: everything, once, in a directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where the demo lives; made anew each time.")] = Path(
        "certwright-demo"
    ),
    once: Annotated[bool, typer.Option("--once", help="Stop when the story is told, instead of at Ctrl-C.")] = False,
) -> None:
    """Show a small living world: a CA, a mesh service, a device, a revocation, a website renewed, a root rotated.

    Nothing outside the directory is touched; listeners are on loopback. The server goes on until Ctrl-C.
    """
    from pki.cli import consumer, evidence, rotation
    from pki.demo.story import tell
    from pki.demo.voice import Screens

    tell(directory, Screens(consumer.listing, rotation.show, evidence.in_words), once=once)
