"""`certwright track acknowledge`, `unacknowledge`, `acknowledged`; `owner mailboxes`, `revive`, `calendar`."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli import owner, track
from pki.cli.options import Json, Yes
from pki.cli.track import What


@track.app.command()
def acknowledge(
    what: What,
    reason: Annotated[str, typer.Option(help="What is being done about it.")],
    until: Annotated[str | None, typer.Option(help="Until this day or moment: 2027-03-31")] = None,
    within: Annotated[str | None, typer.Option("--for", help="For so long from now on: 14d")] = None,
    json: Json = False,
) -> None:
    """Say that somebody takes care of it: nobody is reminded until then. At most 90 days, never beyond its end."""
    from pki.cli.output import moment, print_json, say
    from pki.cli.story import find
    from pki.client.rest import connect, named

    if (until is None) == (within is None):
        raise typer.BadParameter("say either --until, or --for")
    body = {"until": until, "within": within, "reason": reason}
    with connect() as client:
        found = find(client, what)
        place = named("/lineages" if found.is_lineage else "/tracked", found.name)
        row = client.put(f"{place}/acknowledgement", {name: value for name, value in body.items() if value is not None})
    if json:
        print_json(row)
    else:
        say(f"{row['about']} is taken care of until {moment(row['until'])}")


@track.app.command()
def unacknowledge(what: What, json: Json = False) -> None:
    """Take an acknowledgement back: letters about it are written again."""
    from pki.cli.output import print_json, say
    from pki.cli.story import find
    from pki.client.rest import connect, named

    with connect() as client:
        found = find(client, what)
        done = client.delete(f"{named('/lineages' if found.is_lineage else '/tracked', found.name)}/acknowledgement")
    if json:
        print_json(done)
    else:
        say(f"nobody takes care of {what} any more" if done["was_there"] else f"nobody took care of {what}")


@track.app.command()
def acknowledged(
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50, json: Json = False
) -> None:
    """List what somebody takes care of, until when and why."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/acknowledged", limit or None))
    if json:
        print_json(rows)
        return
    shown = [[row["about"], moment(row["until"]), row["reason"], row["by"]] for row in rows]
    table(("what", "until", "reason", "by"), shown, empty="nobody says that they take care of anything")
    say_if_cut(rows, limit)


@owner.app.command()
def mailboxes(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that mail comes back from.")] = False,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List addresses that mail comes back from, and those that want no regular letters."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/mailboxes", limit or None, dead=dead or None))
    if json:
        print_json(rows)
        return
    shown = [
        [row["address"], row["owners"], moment(row["dead_since"]), row["dead_because"], moment(row["digests_off_at"])]
        for row in rows
    ]
    columns = ("address", "owners", "dead since", "because", "no regular letters since")
    table(columns, shown, empty="mail comes back from nowhere, and everybody gets regular letters")
    say_if_cut(rows, limit)


@owner.app.command()
def revive(
    address: Annotated[str, typer.Argument(help="As it is listed: certwright owner mailboxes")], json: Json = False
) -> None:
    """Send mail to an address again that it came back from."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.post(f"{named('/mailboxes', address)}/revive", {})
    if json:
        print_json(done)
    else:
        say(f"mail to {address} is sent again" if done["was_dead"] else f"mail to {address} did not come back")


@owner.app.command()
def calendar(
    name: Annotated[str, typer.Argument(help="An owner's name: certwright owner list")],
    renew: Annotated[
        bool, typer.Option("--renew", help="Another address; the older ones show nothing any more.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Print the address of an owner's calendar. Whoever has it can read it."""
    from pki.cli.output import ask, print_json
    from pki.client.rest import connect, named

    if renew:
        ask(f"whoever subscribes to the calendar of {name} has to do so again: go on?", yes=yes)
    with connect() as client:
        row = client.post(f"{named('/owners', name)}/calendar", {"renew": renew})
    if json:
        print_json(row)
    else:
        typer.echo(row["url"] or "there is none: set mail.link_url")
