"""`certwright consumer`: list, show, remove, pause, resume, spread, secret, acknowledge; the rest in consumer_plan."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(
    help="Consumers: who must hold trust bundles and CRLs, how they get them, and what they were proved to hold.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="A consumer's name: certwright consumer list")]


@app.command("list")
def listing(
    stream: Annotated[str | None, typer.Option(help="Those that need it: certwright bundle list")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List the consumers and whether they hold what they were given."""
    from pki.cli.output import print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/consumers", limit or None, stream=stream))
    if json:
        print_json(rows)
        return
    shown = [
        [row["name"], row["kind"], row["publisher"], _standing(row), ", ".join(row["proves_by"]) or None, row["error"]]
        for row in rows
    ]
    columns = ("name", "kind", "publisher", "holds", "proved by", "error")
    table(columns, shown, empty="there are no consumers: certwright consumer add")
    say_if_cut(rows, limit)


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show one consumer: what it needs, what it holds, and how old that is."""
    from pki.client.rest import connect, named

    with connect() as client:
        shown(client.get(named("/consumers", name)), as_json=json)


@app.command()
def remove(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Forget a consumer: nobody waits for it any more. What was brought there stays there."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"{name} is brought nothing any more, and no rotation waits for it: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/consumers", name))
    if json:
        print_json(done)
    else:
        say(f"consumer {name} is removed")


@app.command()
def pause(name: Name, json: Json = False) -> None:
    """Bring it nothing until it is resumed. Rotations wait for it all the same."""
    _do(name, "pause", json=json)


@app.command()
def resume(name: Name, json: Json = False) -> None:
    """Bring it what it has missed."""
    _do(name, "resume", json=json)


@app.command()
def spread(name: Name, json: Json = False) -> None:
    """Bring it everything once more now, whatever it has; overrides a back-off."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.post(f"{named('/consumers', name)}/spread", {})
        if client.is_alone:
            list(client.lines("/renewals/run", {}))
    if json:
        print_json(done)
    else:
        say(f"{name} is brought what it needs: certwright consumer show {name}" if done["begins"] else "we are at it")


@app.command()
def secret(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Give it another secret to sign its acknowledgements with. It is shown once."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"what {name} signs with its present secret counts no more: go on?", yes=yes)
    with connect() as client:
        done = client.post(f"{named('/consumers', name)}/secret", {})
    if json:
        print_json(done)
    else:
        typer.echo(done["secret"])
        say("it is shown this once")


@app.command()
def acknowledge(
    name: Name,
    stream: Annotated[str, typer.Argument(help="certwright bundle list")],
    version: Annotated[int, typer.Argument(help="The version that it holds.")],
    json: Json = False,
) -> None:
    """Say for a consumer that it holds a version. It goes to the ledger under your name."""
    from ca import clock
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        page = client.get("/publications", stream=stream, cursor=version + 1, limit=1)["items"]
        if not page or page[0]["version"] != version:
            raise typer.BadParameter(f"{stream} has no version {version}", param_hint="VERSION")
        body = {"stream": stream, "version": version, "sha256": page[0]["sha256"], "at": clock.timestamp()}
        done = client.post(f"{named('/consumers', name)}/acknowledgements", body)
    if json:
        print_json(done)
    else:
        say(f"{name} holds version {done['held_version']} of {stream}, says {done['proved_by']}")


def _do(name: str, verb: str, *, json: bool) -> None:
    from pki.client.rest import connect, named

    with connect() as client:
        shown(client.post(f"{named('/consumers', name)}/{verb}", {}), as_json=json)


def _standing(row: dict[str, Any]) -> str:
    if row["state"] == "paused":
        return "paused"
    if row["is_current"]:
        return "the newest"
    from pki.cli.durations import lasting

    late = max((one["behind_seconds"] for one in row["holds"]), default=0)
    held = [one["held_version"] > 0 for one in row["holds"]]
    if not any(held):
        return "nothing yet"
    return f"{lasting(late)} behind" if all(held) else "not everything yet"


def shown(row: dict[str, Any], *, as_json: bool) -> None:
    """One consumer as a person or a program reads it."""
    import shlex

    from pki.cli.durations import lasting
    from pki.cli.output import fields, moment, print_json, say, table

    if as_json:
        print_json(row)
        return
    pairs = row["settings"].items()
    settings = [f"{name}={shlex.join(value) if isinstance(value, list) else value}" for name, value in pairs]
    needs = [
        f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}"
        for name, value in row["needs"].items()
    ]
    hidden = ("holds", "secret", "alarms")
    plain = {name: None if value == "" else value for name, value in row.items() if name not in hidden}
    fields(plain | {"settings": settings, "needs": needs})
    typer.echo("")
    rows = [
        [
            *(one["stream"], one["held_version"] or None, one["proved_by"] or None, moment(one["proved_at"])),
            *(one["newest_version"], lasting(one["behind_seconds"]) if one["behind_seconds"] else None),
        ]
        for one in row["holds"]
    ]
    table(("stream", "holds", "proved by", "at", "newest", "behind"), rows, empty="it needs nothing")
    for kind, message in row["alarms"].items():
        say(f"{kind}: {message}")
    if row.get("secret"):
        typer.echo(row["secret"])
        say("it signs its acknowledgements with this secret, which is shown this once")
