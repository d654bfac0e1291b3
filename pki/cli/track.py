"""`certwright track`: what is tracked, whose it is, where it is seen. Read `track_plan.py` and `track_find.py` next."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(
    help="The inventory: every certificate that matters, from any CA, with its owner and its end.", no_args_is_help=True
)

What = Annotated[
    str,
    typer.Argument(help="A lineage's name; or of one certificate: its number (12), serial, SHA-256, a PEM file."),
]
Limit = Annotated[int, typer.Option(help="How many; 0 for all.", min=0)]
COMMON_NAME = re.compile(r"(?:.*,)?CN=((?:[^,\\]|\\.)+)")
WRONG = {
    "served": "it shows another one than the current",
    "wanted": "nobody has asked for the current one to be brought there",
    "delivered": "it lacks the one that it shall have",
}


@app.command("list")
def listing(
    name: Annotated[str | None, typer.Option(help="With this name, or of the lineage of this name.")] = None,
    owner: Annotated[str | None, typer.Option(help="Of this owner, by whatever rule.")] = None,
    issuer: Annotated[str | None, typer.Option(help="A part of the issuer's name.")] = None,
    serial: Annotated[str | None, typer.Option(help="With this serial number.")] = None,
    key: Annotated[str | None, typer.Option(help="With this public key: SHA-256, or a PEM file.")] = None,
    kind: Annotated[str | None, typer.Option(help="certificate, authority, crl or bundle.")] = None,
    source: Annotated[str | None, typer.Option(help="scanned, imported, issued, authority or renewed.")] = None,
    stage: Annotated[str | None, typer.Option(help="fine, due, late, urgent, critical, expired ...")] = None,
    mode: Annotated[str | None, typer.Option(help="renewed (by us), manual, or holder.")] = None,
    expires_within: Annotated[str | None, typer.Option(help="Ends within this time, soonest first: 30d")] = None,
    replaced: Annotated[bool, typer.Option("--replaced", help="With what has been replaced.")] = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List what is tracked, newest first."""
    from ca import clock
    from pki.cli.durations import seconds
    from pki.client.rest import connect

    before = None if expires_within is None else clock.timestamp() + seconds(expires_within, "--expires-within")
    wanted = {"name": name, "owner": owner, "issuer": issuer, "serial": serial, "kind": kind, "source": source}
    wanted |= {"stage": stage, "mode": mode, "key": _key(key)}
    with connect() as client:
        rows = list(client.pages("/tracked", limit or None, **wanted, expires_before=before, replaced=replaced or None))
    _table(rows, as_json=json, limit=limit, empty="nothing that is tracked fits")


@app.command()
def show(
    what: What,
    pem: Annotated[bool, typer.Option("--pem", help="Only the certificate, PEM.")] = False,
    json: Json = False,
) -> None:
    """Show the whole story of a lineage or of one certificate."""
    from pki.cli.story import find, show_lineage, show_tracked
    from pki.client.rest import connect

    with connect() as client:
        found = find(client, what)
    if pem:
        typer.echo(found.certificate, nl=False)
    elif found.is_lineage:
        show_lineage(found, as_json=json)
    else:
        show_tracked(found, as_json=json)


@app.command()
def assign(
    what: What,
    owner: Annotated[str | None, typer.Option(help="Whose it is: certwright owner list")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Leave it to the claims again.")] = False,
    json: Json = False,
) -> None:
    """Say whose a lineage or one certificate is."""
    from pki.cli.output import print_json, say
    from pki.cli.story import find
    from pki.client.rest import connect, named

    if (owner is None) == (not nobody):
        raise typer.BadParameter("say either --owner, or --nobody")
    with connect() as client:
        found = find(client, what)
        if found.is_lineage:
            row = client.patch(named("/lineages", found.name), {"owner": owner})
        else:
            row = client.put(f"{named('/tracked', found.name)}/owner", {"owner": owner})
    if json:
        print_json(row)
    else:
        say(f"{what} is {row['owner'] or 'nobody'}'s" if owner else f"{what} is left to the claims")


@app.command()
def orphans(limit: Limit = 50, json: Json = False) -> None:
    """List what nobody owns: it falls to the fallback owner until somebody takes it."""
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/tracked/orphans", limit or None))
    _table(rows, as_json=json, limit=limit, empty="everything that is tracked has an owner")


@app.command("shared-keys")
def shared_keys(json: Json = False) -> None:
    """List keys that stand in several lineages, at several endpoints or with several owners."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(_all(client, "/tracked/shared-keys"))
    if json:
        print_json(rows)
        return
    columns = ("lineages", "places", "owners", "spki_sha256")
    shown = [[len(row["tracked"]), *(row[column] for column in columns)] for row in rows]
    table(("certificates", *columns[:-1], "key"), shown, empty="no key stands in more than one place")


@app.command()
def differences(json: Json = False) -> None:
    """List places that show another certificate than the current one, and destinations that lack it."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(_all(client, "/tracked/differences"))
    if json:
        print_json(rows)
        return
    shown = [[row["where"], row["lineage"], WRONG.get(row["what"], row["what"]), row["there"]] for row in rows]
    columns = ("where", "lineage", "what is wrong", "there")
    table(columns, shown, empty="everything is where it shall be, as far as is known")


@app.command()
def endpoints(
    finding: Annotated[str | None, typer.Option(help="With this finding: expired, wrong-name ...; or any.")] = None,
    failing: Annotated[bool, typer.Option("--failing", help="Only those that show nothing at present.")] = False,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List the places where certificates are seen, and what is wrong there."""
    from pki.cli.output import print_json, say_if_cut
    from pki.cli.story import endpoint_table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/endpoints", limit or None, finding=finding, failing=failing or None))
    if json:
        print_json(rows)
    else:
        endpoint_table(rows)
        say_if_cut(rows, limit)


@app.command()
def forget(
    place: Annotated[str, typer.Argument(help="An endpoint as it is listed: tls:api.example:443")],
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Look no longer at an endpoint. Its certificates stay tracked."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"{place} will be looked at no longer, and its history is forgotten: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/endpoints", place))
    if json:
        print_json(done)
    else:
        say(f"{place} is looked at no longer")


def _key(text: str | None) -> str | None:
    from pki.cli.material import key_hash

    return None if text is None else key_hash(text)


def _all(client: Any, path: str) -> Any:
    """Every item of a list whose pages have a size of their own."""
    cursor = None
    while True:
        page = client.get(path, cursor=cursor)
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def _table(rows: list[dict[str, Any]], *, as_json: bool, limit: int, empty: str) -> None:
    from pki.cli.output import moment, print_json, say_if_cut, table

    if as_json:
        print_json(rows)
        return
    for row in rows:
        issuer = COMMON_NAME.fullmatch(row["issuer"]) or COMMON_NAME.match(row["issuer"])
        row |= {"ends": moment(row["not_after"]), "issuer": issuer[1] if issuer else row["issuer"]}
        row["lineage"] = None if row["lineage"] == row["shown_as"] else row["lineage"]
    columns = ("id", "stage", "ends", "shown_as", "owner", "issuer", "lineage")
    shown = [[row[column] for column in columns] for row in rows]
    table((*columns[:3], "shown as", *columns[4:]), shown, empty=empty)
    say_if_cut(rows, limit)
