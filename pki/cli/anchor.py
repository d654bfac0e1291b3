"""`certwright anchor`: trust anchors of other trust domains, for consumers that must trust them, too."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.options import Json, Yes

app = typer.Typer(
    help="Anchors of other trust domains, which are published to the consumers that need them.", no_args_is_help=True
)

Domain = Annotated[str, typer.Argument(help="A trust domain that is not ours: partner.example")]


@app.command("list")
def listing(json: Json = False) -> None:
    """List the other trust domains."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/anchors", None))
    if json:
        print_json(rows)
    else:
        table(("trust domain",), [[row["trust_domain"]] for row in rows], empty="no other trust domain is published")


@app.command()
def show(trust_domain: Domain, json: Json = False) -> None:
    """Show the anchors of one."""
    from pki.client.rest import connect, named

    with connect() as client:
        _shown(client.get(named("/anchors", trust_domain))["items"], as_json=json)


@app.command("set")
def put(
    trust_domain: Domain,
    file: Annotated[Path, typer.Argument(help="PEM file with all of its trust anchors.", exists=True, dir_okay=False)],
    json: Json = False,
) -> None:
    """Make the certificates in a file all the anchors of a trust domain. They are published at once."""
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.put(named("/anchors", trust_domain), {"certificates": file.read_text(errors="replace")})
    _shown(done["items"], as_json=json)


@app.command()
def remove(trust_domain: Domain, yes: Yes = False, json: Json = False) -> None:
    """Forget a trust domain; refused while a consumer needs it."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"nothing of {trust_domain} is published any more: go on?", yes=yes)
    with connect() as client:
        done = client.delete(named("/anchors", trust_domain))
    if json:
        print_json(done)
    else:
        say(f"{trust_domain} is no longer published")


def _shown(rows: list[dict[str, str]], *, as_json: bool) -> None:
    from pki.cli.output import moment, print_json, table

    if as_json:
        print_json(rows)
        return
    shown = [[row["subject"], row["sha256"][:16], moment(row["not_after"]), row["added_by"]] for row in rows]
    table(("subject", "sha256", "ends", "added by"), shown, empty="it has no anchors")
