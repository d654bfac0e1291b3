"""`certwright track add, change, remove, lineages`: certificates that are wanted, and who renews them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes
from pki.cli.track import app

Issuer = Annotated[
    list[str] | None,
    typer.Option(help="Who is asked: internal, or one of the settings; again for more, in this order."),
]
Profile = Annotated[str | None, typer.Option("--profile", "-p", help="A profile of the issuer's.")]
Mode = Annotated[str | None, typer.Option(help="Who renews it: renewed (we do), manual, or holder.")]
Owner = Annotated[str | None, typer.Option(help="Whose it is: certwright owner list")]
KeyType = Annotated[str | None, typer.Option(help="Key of each certificate: P-256, RSA-2048 ...")]
KeyAge = Annotated[str | None, typer.Option(help="How long one key may serve, such as 90d; each its own if left out.")]
Lifetime = Annotated[str | None, typer.Option(help="Such as 30d; the issuer's if left out.")]
Window = Annotated[str | None, typer.Option(help="A maintenance window of the settings.")]
MayShrink = Annotated[
    bool | None,
    typer.Option("--may-shrink/--whole", help="Go without a name that cannot be proved, when time runs out."),
]
Name = Annotated[str, typer.Argument(help="A lineage's name: certwright track lineages")]


@app.command()
def add(
    names: Annotated[list[str], typer.Argument(help="Names that it is for: api.example, spiffe://..., 10.0.0.1 ...")],
    called: Annotated[str | None, typer.Option("--as", help="What it is called; its first name if left out.")] = None,
    issuer: Issuer = None,
    profile: Profile = None,
    mode: Mode = None,
    owner: Owner = None,
    key_type: KeyType = None,
    key_age: KeyAge = None,
    lifetime: Lifetime = None,
    window: Window = None,
    may_shrink: MayShrink = None,
    json: Json = False,
) -> None:
    """Plan a certificate: it is issued, renewed in time and brought to its destinations from now on."""
    from pki.cli.output import say
    from pki.client.rest import connect

    body = _plan(issuer, profile, mode, owner, key_type, key_age, lifetime, window, may_shrink)
    with connect() as client:
        row = client.post("/lineages", {"name": called or names[0], "names": names, **body})
        is_alone = client.is_alone
    _shown(row, as_json=json)
    if not json:
        say(f"next: certwright destination add NAME --lineage {row['name']} --directory DIR")
        if is_alone:
            say("no server is running: certwright renew run has it issued now")


@app.command()
def change(
    name: Name,
    rename: Annotated[str | None, typer.Option(help="What it is called from now on.")] = None,
    names: Annotated[
        list[str] | None, typer.Option("--name", "-n", help="Its names from now on; again for more.")
    ] = None,
    issuer: Issuer = None,
    profile: Profile = None,
    mode: Mode = None,
    owner: Owner = None,
    key_type: KeyType = None,
    key_age: KeyAge = None,
    lifetime: Lifetime = None,
    window: Window = None,
    may_shrink: MayShrink = None,
    reset: Annotated[
        list[str] | None, typer.Option(help="Leave to the settings again: issuers, profile, key-type, lifetime ...")
    ] = None,
    json: Json = False,
) -> None:
    """Change a plan; what is not said stays. Other names or issuers are due at once."""
    from pki.client.rest import connect, named

    body = _plan(issuer, profile, mode, owner, key_type, key_age, lifetime, window, may_shrink)
    if rename is not None:
        body["name"] = rename
    if names:
        body["names"] = names
    body |= {_field(word): None for word in reset or ()}
    with connect() as client:
        _shown(client.patch(named("/lineages", name), body), as_json=json)


@app.command()
def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="With its destinations.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Plan a lineage no more. Its certificates stay tracked, as ones that a person renews."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"nobody will renew {name} any more: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/lineages", name), force=force or None)
    if json:
        print_json(done)
    else:
        say(f"{name} is planned no more; what there is stays tracked")


@app.command()
def lineages(
    mode: Mode = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List lineages: one certificate each, through all its renewals."""
    from pki.cli.output import print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/lineages", limit or None, mode=mode))
    if json:
        print_json(rows)
        return
    columns = ("name", "mode", "current", "names", "issuers", "profile", "window")
    shown = [[row[column] or None for column in columns] for row in rows]
    table(columns, shown, empty="there are no lineages: certwright track add")
    say_if_cut(rows, limit)


RESETTABLE = ("issuers", "profile", "key_type", "key_age", "lifetime", "window", "owner")


def _field(word: str) -> str:
    field = word.replace("-", "_")
    if field not in RESETTABLE:
        raise typer.BadParameter(f"{word} is not one of {', '.join(RESETTABLE)}", param_hint="--reset")
    return field


def _plan(
    issuers: list[str] | None,
    profile: str | None,
    mode: str | None,
    owner: str | None,
    key_type: str | None,
    key_age: str | None,
    lifetime: str | None,
    window: str | None,
    may_shrink: bool | None,
) -> dict[str, Any]:
    """What was said of a plan."""
    wanted: dict[str, Any] = {
        "issuers": issuers or None,
        "profile": profile,
        "mode": mode,
        "owner": owner,
        "key_type": key_type,
    }
    wanted |= {"key_age": key_age, "lifetime": lifetime, "window": window, "may_shrink": may_shrink}
    return {name: value for name, value in wanted.items() if value is not None}


def _shown(row: dict[str, Any], *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json

    if as_json:
        print_json(row)
        return
    columns = ("name", "mode", "names", "issuers", "profile", "owner", "current", "due_at", "due_because")
    fields({column: row[column] or None for column in columns})
