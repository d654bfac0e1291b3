"""`certwright cert revoke`, `hold`, `release`: what is not to be accepted any more, for good or for a while."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.cert import app
from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from pki.client.rest import Client

Serial = Annotated[str, typer.Argument(help="Serial number, hex; or a certificate file, PEM.")]


@app.command()
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
    from pki.client.rest import connect

    wanted = {"name": name, "profile": profile, "authority": authority, "requested_by": requested_by}
    chosen = {field: value for field, value in wanted.items() if value is not None}
    if (serial is not None) + (key is not None) + (certificate is not None) + bool(chosen) != 1:
        raise typer.BadParameter("say exactly one of: a serial number, --key, --certificate, or a filter")
    if dry_run and not chosen:
        raise typer.BadParameter("--dry-run is for a filter")
    with connect() as client:
        if chosen:
            body = {"reason": reason, "filter": chosen}
            done = _revoke_matching(client, body, dry_run=dry_run, yes=yes, quiet=json)
        else:
            done = _revoke_named(client, reason, serial, key, certificate, yes=yes)
    _say_done(done, as_json=json)


def _revoke_matching(client: Client, body: dict[str, Any], *, dry_run: bool, yes: bool, quiet: bool) -> dict[str, Any]:
    from pki.cli.output import ask, counted, fields
    from pki.cli.revocation_cost import cost_fields

    found: dict[str, Any] = client.post("/certificates/revocations", {**body, "dry_run": True})
    if not quiet:
        fields(cost_fields(found["cost"]))
    if dry_run:
        return found
    ask(f"{counted(len(found['serials']), 'certificate')} will be revoked: go on?", yes=yes)
    done: dict[str, Any] = client.post("/certificates/revocations", body)
    return done


def _revoke_named(
    client: Client, reason: str, serial: str | None, key: str | None, certificate: Path | None, *, yes: bool
) -> dict[str, Any]:
    from pki.cli.material import key_hash, read_certificate, serial_of
    from pki.cli.output import ask
    from pki.client.rest import named

    path, body = "/certificates/revocations", {"reason": reason}
    if serial is not None:
        path = f"{named('/certificates', serial_of(serial))}/revoke"
    elif key is not None:
        ask(f"the key {key} will be blocked for ever and all that carries it revoked: go on?", yes=yes)
        body["key"] = key_hash(key)
    elif certificate is not None:
        body["certificate"] = _pem(read_certificate(certificate))
    done: dict[str, Any] = client.post(path, body)
    return done


def _say_done(done: dict[str, Any], *, as_json: bool) -> None:
    from pki.cli.output import counted, print_json, say

    if as_json:
        print_json(done)
    elif not done["dry_run"]:
        blocked = ", and the key is blocked for ever" if done["key_blocked"] else ""
        say(f"revoked {counted(len(done['serials']), 'certificate')}{blocked}")


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


@app.command()
def hold(serial: Serial, json: Json = False) -> None:
    """Put a certificate on hold: refused like a revoked one, until it is released or revoked for good."""
    _change_hold("hold", serial, "{serial} is on hold since {held_at}", as_json=json)


@app.command()
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
