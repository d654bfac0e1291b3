"""`certwright ledger monitor`: watch a ledger from outside, for names nobody expects and rewritten history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.ledger import app
from pki.cli.options import Json


@app.command()
def monitor(
    where: Annotated[str, typer.Argument(metavar="URL|DIRECTORY", help="A mirror: certwright ledger mirror.")],
    verifier: Annotated[str, typer.Option(help="The ledger's verifier key, NAME+HASH+KEY, or a file with it.")],
    state: Annotated[Path, typer.Option(help="Where the newest head that was seen is kept.", dir_okay=False)],
    expect: Annotated[
        list[str], typer.Option(help="What may be issued: dns:*.example.internal, authority:*, profile:sub-ca ...")
    ] = [],  # noqa: B006 - typer's way to say none
    json: Json = False,
) -> None:
    """Look at what is new in a mirror. Exit code 1 for names that nobody expects, a fork, or a ledger that went back.

    It needs no server of ours: each entry is checked against a head that the verifier key signed and that continues
    the one that was kept. What is found is told once.
    """
    from dataclasses import asdict

    from ca.ledger.checkpoint import Verifier
    from pki.cli.output import counted, print_json, say
    from pki.cli.paths import read_text
    from pki.client.monitoring import keep, source, watch

    key = Verifier.parse(read_text(Path(verifier)) if Path(verifier).is_file() else verifier)
    found, checkpoint = watch(source(where), key, state, expect)
    if json:
        print_json(asdict(found))
    else:
        for seen in found.findings:
            say(f"entry {seen.position}: nobody expects {seen.name} ({seen.subject}, by {seen.by})")
        say(f"{counted(found.size - found.before, 'new entry')}, {counted(len(found.findings), 'finding')}")
    keep(state, checkpoint)
    if found.findings:
        raise typer.Exit(1)
