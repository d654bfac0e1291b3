"""`certwright token`: create, list, revoke."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import Json

app = typer.Typer(help="API tokens: scoped to a role and to profiles, always with an end.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the ledger calls it: ci-payments")],
    role: Annotated[str, typer.Option(help="admin, operator, requester, consumer or auditor.")],
    profile: Annotated[list[str] | None, typer.Option(help="A profile it may ask for; again for more.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="namespace=payments: what {caller.namespace} stands for in profiles.")
    ] = None,
    lifetime: Annotated[str, typer.Option(help="Until it ends.")] = "30d",
    json: Json = False,
) -> None:
    """Make a token. It is printed once, on standard output, and stored as a hash."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    _check_role(role)
    attributes = dict(_pair(text) for text in attribute or ())
    body = {"name": name, "role": role, "lifetime": lifetime, "profiles": profile or None, "attributes": attributes}
    with connect() as client:
        made = client.post("/tokens", body)
    if json:
        print_json(made)
        return
    say(f"token {made['name']} ({made['role']}) ends at {made['expires_at']}; it is shown once:")
    typer.echo(made["token"])


@app.command("list")
def listing(json: Json = False) -> None:
    """List the tokens, never their secrets."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/tokens")
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {"ends": moment(row["expires_at"]), "revoked": moment(row["revoked_at"])}
        row["attributes"] = [f"{key}={value}" for key, value in row["attributes"].items()]
    columns = ("name", "role", "ends", "revoked", "profiles", "attributes", "created_by")
    shown = [[row[column] for column in columns] for row in rows]
    table((*columns[:-1], "made by"), shown, empty="there are no tokens")


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="A token's name or id.")], json: Json = False) -> None:
    """End a token at once."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.delete(named("/tokens", name))
    if json:
        print_json(row)
    else:
        say(f"token {row['name']} is revoked")


@app.command("sign-in")
def sign_in(
    role: Annotated[str | None, typer.Option(help="Another role than yours; for who manages tokens.")] = None,
    name: Annotated[str | None, typer.Option(help="Who it is for, as the ledger will say; likewise.")] = None,
    lifetime: Annotated[str, typer.Option(help="Until the link ends, at most 1h.")] = "10m",
    json: Json = False,
) -> None:
    """Make a link that signs you in with a browser, once. It is printed on standard output and stored as a hash."""
    from pki.cli.output import moment, print_json, say
    from pki.client.rest import connect
    from pki.client.where import where

    _check_role(role)
    with connect() as client:
        made = client.post("/sign-in-links", {"role": role, "name": name, "lifetime": lifetime})
    if where.server is not None:  # whoever asks from afar knows by which name the server is reached from there
        made["url"] = where.server.rstrip("/") + made["path"]
    if json:
        print_json(made)
        return
    say(f"signs in {made['identity']} ({made['role']}) once, until {moment(made['expires_at'])}:")
    typer.echo(made["url"])


@app.command()
def sessions(json: Json = False) -> None:
    """List who is signed in with a browser."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/sessions")
    if json:
        print_json(rows)
        return
    shown = [
        [row["identity"], row["role"], row["how"], *(moment(row[f"{at}_at"]) for at in ("created", "seen", "expires"))]
        for row in rows
    ]
    table(("identity", "role", "by", "since", "last seen", "ends"), shown, empty="nobody is signed in")


@app.command("sign-out")
def sign_out(
    identity: Annotated[str, typer.Argument(help="Who, as the list of sessions says it.")], json: Json = False
) -> None:
    """Sign somebody out, of every browser."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        ended = client.delete(named("/sessions", identity))
    if json:
        print_json(ended)
    else:
        say(f"{ended['identity']} is signed out of {ended['ended']} browser{'s' if ended['ended'] != 1 else ''}")


def _check_role(role: str | None) -> None:
    from ca.access import GRANTABLE_ROLES

    if role is not None and role not in GRANTABLE_ROLES:
        raise typer.BadParameter(f"{role} is not one of {', '.join(sorted(GRANTABLE_ROLES))}", param_hint="--role")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text} is not of the form name=value", param_hint="--attribute")
    return name, value
