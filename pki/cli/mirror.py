"""`certwright ledger mirror`: a copy of the ledger that any web server can serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.ledger import app
from pki.cli.options import Json


@app.command()
def mirror(
    directory: Annotated[Path, typer.Argument(help="Where the copy is kept: checkpoint, tile/...", file_okay=False)],
    verifier: Annotated[
        str | None, typer.Option(help="The ledger's verifier key; what the server names if left out.")
    ] = None,
    entries: Annotated[
        bool, typer.Option("--entries/--hashes-only", help="Whether entries are copied, too: they hold names.")
    ] = True,
    json: Json = False,
) -> None:
    """Bring a copy of the ledger in a directory up to date: static tiles (C2SP tlog-tiles), checked before written.

    Exit code 1, and nothing is written, if the ledger went back or forked from what the directory holds.
    """
    from ca.ledger.checkpoint import Verifier
    from pki.cli.output import counted, print_json, say
    from pki.client.mirroring import Mirror
    from pki.client.rest import connect

    with connect() as client:
        head = client.get("/ledger/head")
        key = Verifier.parse(verifier or head["verifier"])
        directory.mkdir(parents=True, exist_ok=True)
        done = Mirror(directory, key, client.fetch, with_entries=entries).follow(head["checkpoint"])
    if json:
        print_json({"size": done.size, "before": done.before, "files": done.files, "directory": str(directory)})
    else:
        say(f"{counted(done.size, 'entry')} in {directory}, {done.size - done.before} of them new")
