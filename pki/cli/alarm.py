"""`certwright alarm`: list."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import Json

app = typer.Typer(help="Alarms: what is wrong now, since when, and what to do.", no_args_is_help=True)

SEVERITIES = ("info", "warning", "error", "critical")


@app.command("list")
def listing(
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 0,
    json: Json = False,
) -> None:
    """List what is wrong now, the worst first; exit code 0, whatever it is."""
    from pki.cli.output import beside, moment, print_json, say, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/alarms", limit or None))
    if json:
        print_json(rows)
        return
    rows.sort(key=lambda row: (-SEVERITIES.index(row["severity"]), row["since"]))
    for row in rows:
        row |= {"since": moment(row["since"]), "about": beside(row["subject"], row["message"])}
    about = ("about",) if any(row["about"] for row in rows) else ()
    columns = ("severity", "kind", "since", "owner", "message", *about)
    table(columns, [[row[column] for column in columns] for row in rows], empty="nothing is wrong")
    say_if_cut(rows, limit)
    for hint in dict.fromkeys(row["hint"] for row in rows if row["hint"]):
        say(f"hint: {hint}")
