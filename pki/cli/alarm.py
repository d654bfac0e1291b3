"""`certwright alarm`: list."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import Json

app = typer.Typer(help="Alarms: what is wrong now, since when, and what to do.", no_args_is_help=True)


@app.command("list")
def listing(
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 0,
    json: Json = False,
) -> None:
    """List what is wrong now; exit code 0, whatever it is."""
    from pki.cli.output import moment, print_json, say, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/alarms", limit or None))
    if json:
        print_json(rows)
        return
    columns = ("severity", "kind", "subject", "since", "owner", "message")
    shown = [[moment(row[column]) if column == "since" else row[column] for column in columns] for row in rows]
    table(columns, shown, empty="nothing is wrong")
    for hint in dict.fromkeys(row["hint"] for row in rows if row["hint"]):
        say(f"hint: {hint}")
