"""`certwright destination`: add, list, show, change, remove, deliver."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes
from pki.cli.placing import Directory, Group, Keep, Mode, Reload, Set, read_settings
from pki.cli.placing import Owner as FileOwner

app = typer.Typer(help="Destinations: where certificates are used, and how they get there.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A destination's name: certwright destination list")]
Probe = Annotated[str | None, typer.Option(help="Where it is seen serving: host:port, host:port#name, smtp://host.")]
Rank = Annotated[int | None, typer.Option(help="Who has a lower one goes first; the others wait until it is seen.")]
Bundle = Annotated[str | None, typer.Option(help="PEM file of what its own users trust, on the server's machine.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is called: web-1")],
    lineage: Annotated[str, typer.Option(help="Whose certificate it gets: certwright track lineages")],
    directory: Directory = None,
    reload: Reload = None,
    owner: FileOwner = None,
    group: Group = None,
    mode: Mode = None,
    keep: Keep = None,
    probe: Probe = None,
    rank: Rank = None,
    bundle: Bundle = None,
    publisher: Annotated[str, typer.Option(help="How it gets there.")] = "files",
    set_: Set = None,
    json: Json = False,
) -> None:
    """Add a place where a lineage's certificate is used. What the lineage has is brought there at once."""
    from pki.client.rest import connect

    settings = read_settings(directory, reload, owner, group, mode, keep, set_)
    body: dict[str, Any] = {"name": name, "lineage": lineage, "publisher": publisher, "settings": settings}
    with connect() as client:
        _shown(client.post("/destinations", body | _placed(probe, rank, bundle)), as_json=json)


@app.command("list")
def listing(
    lineage: Annotated[str | None, typer.Option(help="Of this lineage.")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List the destinations and what they have."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/destinations", limit or None, lineage=lineage))
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {"probe": row["probe"] or None, "fails since": moment(row["failing_since"]), "error": row["last_error"]}
    columns = ("name", "state", "wanted", "delivered", "publisher", "rank", "probe", "fails since", "error")
    shown = [[row[column] for column in columns] for row in rows]
    table(columns, shown, empty="there are no destinations: certwright destination add")
    say_if_cut(rows, limit)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show one destination, with what was brought there lately."""
    from pki.client.rest import connect, named

    with connect() as client:
        _shown(client.get(named("/destinations", name)), as_json=json)


@app.command()
def change(
    name: Name,
    directory: Directory = None,
    reload: Reload = None,
    owner: FileOwner = None,
    group: Group = None,
    mode: Mode = None,
    keep: Keep = None,
    probe: Probe = None,
    rank: Rank = None,
    bundle: Bundle = None,
    set_: Set = None,
    unset: Annotated[list[str] | None, typer.Option(help="A setting that is said no more: reload")] = None,
    json: Json = False,
) -> None:
    """Change a destination; what is not said stays as it is. In another place it is delivered anew."""
    from pki.client.rest import connect, named

    body = _placed(probe, rank, bundle)
    changes = read_settings(directory, reload, owner, group, mode, keep, set_)
    with connect() as client:
        if changes or unset:
            before = client.get(named("/destinations", name))["settings"]
            kept = {key: value for key, value in before.items() if key not in (unset or ())}
            body["settings"] = kept | changes
        _shown(client.patch(named("/destinations", name), body), as_json=json)


@app.command()
def remove(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Forget a destination. What was brought there stays there."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"nothing will be brought to {name} any more: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/destinations", name))
    if json:
        print_json(done)
    else:
        say(f"destination {name} is removed")


@app.command()
def deliver(name: Name, json: Json = False) -> None:
    """Deliver again now, whatever it has; overrides a back-off."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.post(f"{named('/destinations', name)}/deliver", {})
        if client.is_alone:
            list(client.lines("/renewals/run", {}))
    if json:
        print_json(done)
    elif done["begins"]:
        say(f"{name} is delivered to: certwright destination show {name}")
    else:
        say(f"{name} has to wait for those that go first, or somebody is at it")


def _placed(probe: str | None, rank: int | None, bundle: str | None) -> dict[str, Any]:
    wanted = {"probe": probe, "rank": rank, "bundle": bundle}
    return {name: value for name, value in wanted.items() if value is not None}


def _shown(row: dict[str, Any], *, as_json: bool) -> None:
    import shlex

    from pki.cli.output import fields, moment, print_json, table

    if as_json:
        print_json(row)
        return
    settings = [
        f"{name}={shlex.join(value) if isinstance(value, list) else value}" for name, value in row["settings"].items()
    ]
    fields(
        {
            **{name: value for name, value in row.items() if name != "deliveries"},
            "settings": settings,
            "probe": row["probe"] or None,
        }
    )
    typer.echo("")
    columns = ("certificate", "outcome", "error")
    shown = [
        [moment(one["started_at"]), *(one[column] for column in columns), moment(one["seen_at"])]
        for one in row["deliveries"]
    ]
    table(("begun", *columns, "seen"), shown, empty="nothing was brought there yet")
