"""`certwright owner`: add, list, show, change, remove, claim, release."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(
    help="Owners: who answers for certificates, and by which rules they are theirs.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="An owner's name: certwright owner list")]
Email = Annotated[str | None, typer.Option(help="Where they are reached.")]
Escalation = Annotated[
    list[str] | None, typer.Option(help="Who hears of it next when nothing happens; again for more, in this order.")
]
TimeZone = Annotated[str | None, typer.Option(help="Such as Europe/Berlin.")]
Fallback = Annotated[bool, typer.Option("--fallback", help="Orphans fall to this owner from now on.")]
Kind = Annotated[str, typer.Argument(help="requester (who asked for it) or name (one of its names).")]
Pattern = Annotated[
    str, typer.Argument(help="token:ci-payments; api.pay.example, '*.pay.example', 'spiffe://example/ns/pay/*'")
]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A team's name.")],
    email: Annotated[str, typer.Option(help="Where they are reached.")],
    escalation: Escalation = None,
    time_zone: TimeZone = None,
    fallback: Fallback = False,
    json: Json = False,
) -> None:
    """Add somebody who answers for certificates. The first one is who orphans fall to."""
    from pki.client.rest import connect

    body: dict[str, Any] = {"name": name, "email": email, "escalation": escalation or [], "is_fallback": fallback}
    with connect() as client:
        _shown(client.post("/owners", body | ({"time_zone": time_zone} if time_zone else {})), as_json=json)


@app.command("list")
def listing(json: Json = False) -> None:
    """List the owners."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/owners")
    if json:
        print_json(rows)
        return
    columns = ("name", "email", "escalation", "time_zone", "is_fallback")
    shown = [[row[column] for column in columns] for row in rows]
    table((*columns[:3], "time zone", "fallback"), shown, empty="there are no owners: certwright owner add")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show one owner with the rules by which certificates are theirs."""
    from pki.client.rest import connect, named

    with connect() as client:
        _shown(client.get(named("/owners", name)), as_json=json)


@app.command()
def change(
    name: Name,
    rename: Annotated[str | None, typer.Option(help="What it is called from now on.")] = None,
    email: Email = None,
    escalation: Escalation = None,
    time_zone: TimeZone = None,
    fallback: Fallback = False,
    json: Json = False,
) -> None:
    """Change an owner; what is not said stays as it is."""
    from pki.client.rest import connect, named

    wanted = {"name": rename, "email": email, "escalation": escalation or None, "time_zone": time_zone}
    body = {field: value for field, value in wanted.items() if value is not None}
    with connect() as client:
        row = client.patch(named("/owners", name), body | ({"is_fallback": True} if fallback else {}))
    _shown(row, as_json=json)


@app.command()
def remove(
    name: Name,
    heir: Annotated[str | None, typer.Option(help="The owner who takes everything that is theirs.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Remove an owner. Who owns something needs an heir."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    if heir is not None:
        ask(f"everything of {name} will be {heir}'s: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/owners", name), heir=heir)
    if json:
        print_json(done)
    else:
        say(f"owner {name} is removed")


@app.command()
def claim(name: Name, kind: Kind, pattern: Pattern, json: Json = False) -> None:
    """Give an owner everything that fits a rule, now and later."""
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.post(f"{named('/owners', name)}/claims", {"kind": kind, "pattern": pattern})
    _shown(row, as_json=json)


@app.command()
def release(name: Name, kind: Kind, pattern: Pattern, json: Json = False) -> None:
    """Take a rule back."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.post(f"{named('/owners', name)}/releases", {"kind": kind, "pattern": pattern})
    if json:
        print_json(done)
    else:
        say(f"{name} no longer claims {pattern}" if done["was_there"] else f"{name} did not claim {pattern}")


def _shown(row: dict[str, Any], *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json

    if as_json:
        print_json(row)
        return
    claims = [f"{claim['kind']} {claim['pattern']}" for claim in row["claims"]]
    fields({**row, "claims": claims})
