"""`certwright event`: list."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import Json

app = typer.Typer(help="Events: what has happened that others want to know.", no_args_is_help=True)


@app.command("list")
def listing(
    kind: Annotated[str | None, typer.Option(help="Of this kind: certificate-renewed, alarm-raised ...")] = None,
    subject: Annotated[str | None, typer.Option(help="About this lineage, destination, endpoint ...")] = None,
    severity: Annotated[str | None, typer.Option(help="At least: info, warning, error or critical.")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List events, newest first."""
    from pki.cli.output import beside, moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/events", limit or None, kind=kind, subject=subject, severity=severity))
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {"at": moment(row["at"]), "about": beside(row["subject"], row["message"])}
    about = ("about",) if any(row["about"] for row in rows) else ()
    columns = ("at", "severity", "kind", "message", *about)
    table(columns, [[row[column] for column in columns] for row in rows], empty="no event fits")
    say_if_cut(rows, limit)
