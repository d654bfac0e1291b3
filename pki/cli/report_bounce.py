"""`certwright report bounce`: what a mail server says of a letter that came back. A mail system pipes it in."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import Json
from pki.cli.report import app

OUTCOMES = {
    "dead": "the mailbox is dead: whoever is next gets the letter",
    "said-before": "that is known already",
    "passing": "it may still arrive: nothing follows",
    "not-ours": "it is about no letter of ours: nothing follows",
}


@app.command()
def bounce(
    file: Annotated[Path, typer.Argument(help="The message that came back; - for standard input.", dir_okay=False)],
    json: Json = False,
) -> None:
    """Report a letter that came back. A permanent failure of one that was really sent makes its mailbox dead."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect
    from renewers.answering.reports import LONGEST

    content = sys.stdin.buffer.read(LONGEST) if str(file) == "-" else _beginning(file, LONGEST)
    with connect() as client:
        done = client.post("/bounces", {"message": base64.b64encode(content).decode()})
    if json:
        print_json(done)
    else:
        address = f"{done['address']}: " if done["address"] else ""
        say(address + OUTCOMES.get(done["outcome"], done["outcome"]))


def _beginning(file: Path, most: int) -> bytes:
    with file.open("rb") as content:
        return content.read(most)
