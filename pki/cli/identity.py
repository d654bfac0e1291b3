"""`certwright identity`: whose JSON Web Tokens are believed, and what one of them is taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.options import Json

app = typer.Typer(help="Callers whom somebody else vouches for: clusters, CI systems, people.", no_args_is_help=True)


@app.command()
def explain(
    file: Annotated[
        Path,
        typer.Argument(
            help="The token; - for standard input. Never on the command line.", dir_okay=False, allow_dash=True
        ),
    ],
    json: Json = False,
) -> None:
    """Say what a JSON Web Token would be taken for, and why; exit code 1 if it lets nobody in."""
    from pki.cli.output import print_json
    from pki.cli.paths import read_text
    from pki.client.rest import connect

    token = read_text(file)
    with connect() as client:
        found = client.post("/identity/explain", {"token": token})
    if json:
        print_json(found)
    else:
        _show(found)
    if not found["is_let_in"]:
        raise typer.Exit(1)


@app.command()
def issuers(json: Json = False) -> None:
    """List the issuers whose JSON Web Tokens are believed, and how it stands with their keys."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/identity/issuers")
    if json:
        print_json(rows)
        return
    names = ("name", "issuer", "audience", "algorithms", "keys_from", "keys", "grants", "failure")
    shown = [[row[name] for name in names] for row in rows]
    heads = ("name", "issuer", "audience", "algorithms", "keys from", "keys known", "grants", "last failure")
    table(heads, shown, empty="no issuers are believed: identity.jwt in the settings names them")


def _show(found: dict[str, Any]) -> None:
    from pki.cli.output import moment, say, table

    if found["identity"] is not None:
        say(f"{found['identity']}, until {moment(found['ends_at'])}")
    elif found["issuer"] is not None:
        say(f"from {found['issuer']}, as it says")
    if found["is_let_in"]:
        profiles = "all that the role may" if found["profiles"] is None else ", ".join(found["profiles"]) or "none"
        say(f"grant {found['grant']}: role {found['role']}, profiles: {profiles}")
    for name, value in found["attributes"].items():
        say(f"{{caller.{name}}} is {value}")
    for name, claim in found["unset"].items():
        say(f"{{caller.{name}}} stands for nothing: {claim} says no single plain label")
    rows = [
        [row["grant"], row["claim"], row["pattern"], row["said"], "yes" if row["fits"] else "no"]
        for row in found["conditions"]
    ]
    if rows:
        table(("grant", "claim", "has to be", "is", "fits"), rows, empty="")
    if (refused := found["refused"]) is not None:
        say(f"nobody is let in: {refused['message']}")
        if refused["hint"]:
            say(f"hint: {refused['hint']}")
