"""`certwright issuer`: list, check, roll-key."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(help="Issuers: who is asked for certificates, and whether they answer.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An issuer of the settings, or internal: our own CA.")]


@app.command("list")
def listing(json: Json = False) -> None:
    """List the issuers: health, account, and what is left of their rate limits."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/issuers")
    if json:
        print_json(rows)
        return
    shown = []
    for row in rows:
        error = (row["last_error"] or "").removeprefix(f"{row['name']}: ") if row["state"] == "failing" else None
        first = (row["name"], row["kind"], row["state"], moment(row["last_success"]))
        shown.append([*first, _account(row), _budget(row), error])
    columns = ("name", "kind", "state", "last answer", "account", "left", "error")
    table(columns, shown, empty="there are no issuers")


@app.command()
def check(name: Name, json: Json = False) -> None:
    """Ask an issuer whether it could be asked now; exit code 1 if not."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        found = client.post(f"{named('/issuers', name)}/check", {})
    if json:
        print_json(found)
    elif found["is_ok"]:
        say(f"{name} answers")
    else:
        say(f"{name} cannot be asked: {found['message'].removeprefix(f'{name}: ')}")
        if found["hint"]:
            say(f"hint: {found['hint']}")
    if not found["is_ok"]:
        raise typer.Exit(1)


@app.command("roll-key")
def roll_key(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Exchange the key of our account at a public CA."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"our account at {name} will have a new key: go on?", yes=yes)
    with connect() as client:
        row = client.post(f"{named('/issuers', name)}/roll-key", {})
    if json:
        print_json(row)
    else:
        made_at = row["account"]["key_made_at"] if row["account"] else "now"
        say(f"our account at {name} has the key of {made_at}")


def _account(row: dict[str, Any]) -> object:
    if row["kind"] == "internal":
        return None
    return (row["account"] or {}).get("url") or "not registered yet"


def _budget(row: dict[str, Any]) -> list[str]:
    return [f"{one['limit']} {one['left']} of {one['allowed']} in {one['period']}" for one in row["budget"]]
