"""`certwright ledger`: head, verify, export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from pki.cli.options import Json

if TYPE_CHECKING:
    from pki.client.rest import Client

app = typer.Typer(help="The ledger: every state change, in a Merkle tree with signed heads.", no_args_is_help=True)


@app.command()
def head(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the checkpoint to a file.")] = None,
    json: Json = False,
) -> None:
    """Print the newest signed head. Keep it elsewhere: the ledger can be held against it later."""
    from pki.cli.output import counted, print_json, say
    from pki.cli.paths import write_or_print
    from pki.client.rest import connect

    with connect() as client:
        found = client.get("/ledger/head")
    if out is not None or not json:
        write_or_print(found["checkpoint"], out)
    if json:
        print_json(found)
        return
    if out is not None:
        say(f"the head of {counted(found['size'], 'entry')} is in {out}")
    say(f"verifier: {found['verifier']}")


@app.command()
def verify(
    head: Annotated[
        Path | None, typer.Option("--head", help="A checkpoint that was kept elsewhere.", exists=True, dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Hold the store against its ledger, and the ledger against a head kept elsewhere. Exit code 1 if not sound."""
    from pki.cli.output import counted, print_json, say
    from pki.cli.paths import read_text
    from pki.client.rest import connect

    kept = read_text(head) if head is not None else None
    with connect() as client:
        report = _audit(client, kept, quiet=json)
    if json:
        print_json(report)
    elif report["is_sound"]:
        against = "a head kept elsewhere" if head is not None else "its own signed heads and the newest that was seen"
        entries, certificates = counted(report["entries"], "entry"), counted(report["certificates"], "certificate")
        say(f"sound: {entries} and {certificates}, held against {against}")
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
    json: Json = False,
) -> None:
    """Write the entries of the ledger with their hashes, oldest first."""
    from pki.cli.output import counted, print_json, say
    from pki.client.rest import connect

    part = out.with_name(f"{out.name}.part")
    try:
        with connect() as client, part.open("w", encoding="utf-8") as file:
            count = sum(_lines(client, subject, file))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    if json:
        print_json({"entries": count, "file": str(out)})
    else:
        say(f"{counted(count, 'entry')} written to {out}")


def _lines(client: Client, subject: str | None, file: TextIO) -> Iterator[int]:
    """Write page after page; yields how many entries each had."""
    import json

    after: str | None = "0"
    while after is not None:
        page = client.get("/ledger/entries", after=after, subject=subject, limit=1000)
        file.writelines(json.dumps(item, sort_keys=True) + "\n" for item in page["items"])
        yield len(page["items"])
        after = page["next"]


def _audit(client: Client, checkpoint: str | None, *, quiet: bool) -> dict[str, Any]:
    """Run the audit, showing how far it is; returns the report, which is the last line."""
    from pki.cli.progress import bar

    report: dict[str, Any] = {}
    with bar("checking entries", is_quiet=quiet) as update:
        for line in client.lines("/ledger/verify", {"checkpoint": checkpoint}):
            if "checked" in line:
                update(line["checked"], line["of"])
            else:
                report = line
    return report
