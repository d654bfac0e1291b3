"""`certwright ledger`: head, verify, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json

if TYPE_CHECKING:
    from pki.cli.client import Client

app = typer.Typer(help="The ledger: every state change, in a Merkle tree with signed heads.", no_args_is_help=True)


@app.command()
def head(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the checkpoint to a file.")] = None,
    json: Json = False,
) -> None:
    """Print the newest signed head. Keep it elsewhere: the ledger can be held against it later."""
    from ca import files
    from pki.cli.client import connect
    from pki.cli.output import print_json, say

    with connect() as client:
        found = client.get("/ledger/head")
    if out is not None:
        files.replace(out, found["checkpoint"].encode())
    if json:
        print_json(found)
    elif out is None:
        typer.echo(found["checkpoint"], nl=False)
        say(f"verifier: {found['verifier']}")


@app.command()
def verify(
    head: Annotated[
        Path | None, typer.Option("--head", help="A checkpoint that was kept elsewhere.", exists=True, dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Hold the store against its ledger, and the ledger against a head kept elsewhere. Exit code 1 if not sound."""
    from pki.cli.client import connect
    from pki.cli.output import print_json, say

    with connect() as client:
        report = _audit(client, head.read_text() if head is not None else None, quiet=json)
    if json:
        print_json(report)
    elif report["is_sound"]:
        against = "a head kept elsewhere" if head is not None else "its own signed heads"
        say(f"sound: {report['entries']} entries and {report['certificates']} certificates, held against {against}")
    else:
        say(f"NOT sound: {report['first']}")
        for finding in report["findings"]:
            say(f"  - {finding['kind']}: {finding['message']}")
    if not report["is_sound"]:
        raise typer.Exit(1)


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write, one JSON object a line.")],
    subject: Annotated[str | None, typer.Option(help="Only what happened to this serial number, authority ...")] = None,
) -> None:
    """Write the entries of the ledger with their hashes, oldest first."""
    import json as encoder

    from pki.cli.client import connect
    from pki.cli.output import say

    count, after = 0, "0"
    with connect() as client, out.open("w") as file:
        while True:
            page = client.get("/ledger/entries", after=after, subject=subject, limit=1000)
            for item in page["items"]:
                file.write(encoder.dumps(item, sort_keys=True) + "\n")
            count += len(page["items"])
            if page["next"] is None:
                break
            after = page["next"]
    say(f"{count} entries written to {out}")


def _audit(client: Client, checkpoint: str | None, *, quiet: bool) -> dict[str, Any]:
    """Run the audit, showing how far it is; returns the report, which is the last line."""
    from rich.console import Console
    from rich.progress import Progress

    report: dict[str, Any] = {}
    with Progress(console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("checking entries", total=None)
        for line in client.lines("/ledger/verify", {"checkpoint": checkpoint}):
            if "checked" in line:
                progress.update(task, completed=line["checked"], total=line["of"])
            else:
                report = line
    return report
