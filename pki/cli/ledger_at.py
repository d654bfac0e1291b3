"""`certwright ledger at`: what was so at a past moment, by the ledger."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.ledger import app
from pki.cli.options import Json


@app.command()
def at(
    moment: Annotated[str, typer.Argument(help="2026-11-26, 2026-11-26T10:00:00Z (UTC), or seconds since the epoch.")],
    certificate: Annotated[
        str | None, typer.Option(help="What this certificate was: serial number, or a file, PEM.")
    ] = None,
    authorities: Annotated[bool, typer.Option("--authorities", help="Which CAs there were; the default.")] = False,
    profiles: Annotated[bool, typer.Option("--profiles", help="Which versions of profiles were in force.")] = False,
    counts: Annotated[bool, typer.Option("--counts", help="How many certificates; reads the whole ledger.")] = False,
    json: Json = False,
) -> None:
    """What was valid, held or revoked, who signed, by which policy: at a past moment, by entries under a head."""
    from pki.cli.material import serial_of
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    if (certificate is not None) + authorities + profiles + counts > 1:
        raise typer.BadParameter("say one of --certificate, --authorities, --profiles, --counts")
    asked: dict[str, Any] = {"at": _seconds(moment)}
    if certificate is not None:
        asked |= {"of": "certificate", "serial": serial_of(certificate)}
    else:
        asked["of"] = "profiles" if profiles else "counts" if counts else "authorities"
    with connect() as client:
        found = client.get("/ledger/state", **asked)
    if json:
        print_json(found)
        return
    _show(found)
    say(f"as of {found['at']}, under the head of {found['size']} entries that was signed at {found['signed_at']}")


def _show(found: dict[str, Any]) -> None:
    from pki.cli.output import fields, table

    if (one := found["certificate"]) is not None:
        fields({"serial": one["serial"], "state": one["state"], **one["facts"], "entries": one["positions"]})
    elif (counts := found["counts"]) is not None:
        for name in ("by_authority", "by_profile"):
            counts[name] = [f"{key} {count}" for key, count in counts[name].items()]
        fields(counts)
    elif (versions := found["profiles"]) is not None:
        rows = [[row["name"], row["since"], row["sha256"]] for row in versions]
        table(("profile", "in force since", "SHA-256 of its file"), rows, empty="the ledger knows of no profile then")
    else:
        rows = [[row["name"], row["state"], row["since"], row["not_after"]] for row in found["authorities"]]
        table(("authority", "state", "since", "ends"), rows, empty="there was no authority then")


def _seconds(text: str) -> int:
    from datetime import UTC, datetime

    if text.isascii() and text.isdigit():
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write 2026-11-26T10:00:00Z, 2026-11-26, or seconds", param_hint="MOMENT") from None
    return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())
