"""`certwright doctor`: looks at the installation on this machine and says what to do."""

from __future__ import annotations

import typer

from pki.cli.options import Json


def doctor(json: Json = False) -> None:
    """Look at keys, expiry, clock, disk, permissions, database, CRLs, backups. Exit code 1 if something is wrong."""
    from pki.cli.output import print_json, say, table
    from pki.client.rest import connect

    with connect() as client:
        found = client.get("/doctor")["findings"]
    if json:
        print_json({"findings": found})
    else:
        rows = [(each["level"], each["check"], each["message"]) for each in found]
        table(("level", "check", "what was found"), rows, empty="nothing was looked at")
        for each in found:
            if each["advice"]:
                say(f"{each['check']}: {each['advice']}")
    if any(each["level"] == "problem" for each in found):
        raise typer.Exit(1)
