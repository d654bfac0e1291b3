"""`certwright cert revoke`, `hold`, `release`: what is not to be accepted any more, for good or for a while."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

Serial = Annotated[str, typer.Argument(help="Serial number, hex; or a certificate file, PEM.")]


def revoke(
    serial: Annotated[str | None, typer.Argument(help="Serial number, hex; or a certificate file, PEM.")] = None,
    reason: Annotated[str, typer.Option(help="key-compromise, superseded, cessation-of-operation ...")] = "unspecified",
    key: Annotated[str | None, typer.Option(help="Everything with this public key: SHA-256, or a PEM file.")] = None,
    name: Annotated[str | None, typer.Option(help="Everything with this name.")] = None,
    profile: Annotated[str | None, typer.Option(help="Everything of this profile.")] = None,
    authority: Annotated[str | None, typer.Option(help="Everything that this authority has signed.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Everything that this caller has asked for.")] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(help="A certificate that our key has signed and we have no record of, PEM.", exists=True),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of a filter: say what it comes to, and stop.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Revoke one certificate, all with a key, or all that a filter finds. The CRLs follow within seconds."""
    from pki.cli.material import key_hash, read_certificate, serial_of
    from pki.cli.output import ask, counted, fields, print_json, say
    from pki.cli.revocation_cost import cost_fields
    from pki.client.rest import connect, named

    wanted = {"name": name, "profile": profile, "authority": authority, "requested_by": requested_by}
    chosen = {field: value for field, value in wanted.items() if value is not None}
    if (serial is not None) + (key is not None) + (certificate is not None) + bool(chosen) != 1:
        raise typer.BadParameter("say exactly one of: a serial number, --key, --certificate, or a filter")
    if dry_run and not chosen:
        raise typer.BadParameter("--dry-run is for a filter")
    body: dict[str, Any] = {"reason": reason}
    with connect() as client:
        if serial is not None:
            done = client.post(f"{named('/certificates', serial_of(serial))}/revoke", body)
        elif key is not None:
            ask(f"the key {key} will be blocked for ever and all that carries it revoked: go on?", yes=yes)
            done = client.post("/certificates/revocations", {**body, "key": key_hash(key)})
        elif certificate is not None:
            done = client.post(
                "/certificates/revocations", {**body, "certificate": _pem(read_certificate(certificate))}
            )
        else:
            body["filter"] = chosen
            done = client.post("/certificates/revocations", {**body, "dry_run": True})
            if not json:
                fields(cost_fields(done["cost"]))
            if not dry_run:
                ask(f"{counted(len(done['serials']), 'certificate')} will be revoked: go on?", yes=yes)
                done = client.post("/certificates/revocations", body)
    if json:
        print_json(done)
    elif not dry_run:
        blocked = ", and the key is blocked for ever" if done["key_blocked"] else ""
        say(f"revoked {counted(len(done['serials']), 'certificate')}{blocked}")


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def hold(serial: Serial, json: Json = False) -> None:
    """Put a certificate on hold: refused like a revoked one, until it is released or revoked for good."""
    _change_hold("hold", serial, "{serial} is on hold since {held_at}", as_json=json)


def release(serial: Serial, json: Json = False) -> None:
    """Release a certificate that is on hold: the next CRLs name it no more. Nothing else can be taken back."""
    _change_hold("release", serial, "{serial} is released; it was on hold since {held_at}", as_json=json)


def _change_hold(verb: str, serial: str, sentence: str, *, as_json: bool) -> None:
    from pki.cli.material import serial_of
    from pki.cli.output import print_json, say
    from pki.client.rest import connect, named

    with connect() as client:
        done = client.post(f"{named('/certificates', serial_of(serial))}/{verb}", {})
    if as_json:
        print_json(done)
    else:
        say(sentence.format(**done))
