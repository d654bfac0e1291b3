"""`certwright profile diff`: what a changed profile would change, before it is in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.options import Json
from pki.cli.profile import app


@app.command()
def diff(
    file: Annotated[
        Path, typer.Argument(help="The profile as it would be; its name is the profile's.", dir_okay=False)
    ],
    last: Annotated[int, typer.Option(help="How many of the last issuances to judge by it.", min=1, max=10_000)] = 1000,
    json: Json = False,
) -> None:
    """Say what would be allowed, refused and made otherwise; exit code 1 if somebody who was issued is refused."""
    from pki.cli.output import print_json
    from pki.cli.paths import read_text
    from pki.client.rest import connect, named

    body = {"content": read_text(file), "last": last}
    with connect() as client:
        found = client.post(f"{named('/profiles', file.stem)}/compare", body)
    if json:
        print_json(found)
    else:
        _show(found)
    if found["replay"]["refused"]:
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    from pki.cli.output import say, table

    rows = [[one["effect"], one["field"], one["before"], one["after"]] for one in found["differences"]]
    table(("effect", "field", "in force", "in the file"), rows, empty="nothing is different")
    for one in found["examples"]:
        say(f"example: {one['why']}: {', '.join(one['found']) or 'allowed'}")
    replay = found["replay"]
    for word, kind in (("refused", "newly_refused"), ("allowed", "newly_allowed")):
        rows = [
            [one["serial"], one["requested_by"], one["names"], [reason["message"] for reason in one["reasons"]]]
            for one in replay[kind]
        ]
        if rows:
            say(f"{replay[word]} would be {word}:")
            table(("serial number", "asked for by", "names", "why"), rows, empty="")
    judged = replay["looked"] - replay["unknown"]
    say(f"of the last {replay['looked']} issuances {judged} were judged: {replay['refused']} would be refused")
    if replay["unknown"]:
        say(f"{replay['unknown']} were for somebody whose role is not known any more")
