"""`certwright ca cross-sign` and `crosses`: roots of ours that certify each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.ca import app
from pki.cli.options import Json


@app.command("cross-sign")
def cross_sign(
    name: Annotated[str, typer.Argument(help="The root that is to be certified, such as root-2.")],
    by: Annotated[str, typer.Option(help="The root that certifies it, such as root-1.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the certificate, too, PEM.")] = None,
    json: Json = False,
) -> None:
    """Have a root certified by another one of ours, for those who trust only that. Chains end with it from now on."""
    from pki.cli.output import fields, print_json
    from pki.cli.paths import write_or_print
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.post(f"{named('/authorities', name)}/cross-certificates", {"by": by})
    if out is not None:
        write_or_print(row["certificate"], out)
    if json:
        print_json(row)
    else:
        fields({key: value for key, value in row.items() if key != "certificate"})


@app.command()
def crosses(json: Json = False) -> None:
    """List cross-certificates; certwright cert revoke takes one back."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/cross-certificates")
    if json:
        print_json(rows)
        return
    shown = [
        [row["authority"], row["by"], "yes" if row["is_served"] else "no", moment(row["not_after"]), row["serial"]]
        for row in rows
    ]
    table(("root", "certified by", "served", "ends", "serial"), shown, empty="no root is certified by another")
