"""`certwright approval`: acts that take two persons."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(help="What takes two persons: see it, grant it, refuse it.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="The number of an approval.", min=1)]


@app.command("list")
def listing(json: Json = False) -> None:
    """Show what was asked for, the newest first."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/approvals")
    if json:
        print_json(rows)
        return
    names = ("id", "state", "act", "subject", "asked_by", "decided_by")
    shown = [[*(row[name] for name in names), moment(row["expires_at"])] for row in rows]
    columns = ("number", "state", "to", "about", "asked by", "decided by", "ends")
    table(columns, shown, empty="nothing takes, or took, two persons")


@app.command()
def show(number: Number, json: Json = False) -> None:
    """Show one, with everything that decides what it will do."""
    from pki.client.rest import connect

    with connect() as client:
        _show(client.get(f"/approvals/{number}"), as_json=json)


@app.command()
def grant(number: Number, yes: Yes = False, json: Json = False) -> None:
    """Grant what somebody else wants to do: exactly this, once. They then say it again."""
    from pki.cli.output import ask, say
    from pki.client.rest import connect

    with connect() as client:
        wanted = client.get(f"/approvals/{number}")
        if not json:
            _show(wanted, as_json=False)
        ask(f"{wanted['asked_by']} may {wanted['act']} ({wanted['subject']}): go on?", yes=yes)
        row = client.post(f"/approvals/{number}/grant", {})
    if json:
        _show(row, as_json=True)
    else:
        say(f"granted, once, until {row['expires_at']}: {row['asked_by']} says it again")


@app.command()
def refuse(number: Number, json: Json = False) -> None:
    """Refuse what somebody wants to do, or take back what you have asked for."""
    from pki.client.rest import connect

    with connect() as client:
        _show(client.post(f"/approvals/{number}/refuse", {}), as_json=json)


def _show(row: dict[str, Any], *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json

    if as_json:
        print_json(row)
        return
    details = {f"  {name.replace('_', ' ')}": value for name, value in row["details"].items()}
    fields({key: value for key, value in row.items() if key != "details"} | details)
