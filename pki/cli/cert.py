"""`certwright cert`: issue, sign, renew, list, show. Private keys are made here, on the user's machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Force, Json
from pki.client.where import where

if TYPE_CHECKING:
    from ca.keys.algorithms import PrivateKey

app = typer.Typer(help="Certificates: issue, sign, renew, hold, release, revoke, list, show.", no_args_is_help=True)

Serial = Annotated[str, typer.Argument(help="Serial number, hex; or a certificate file, PEM.")]
Profile = Annotated[str, typer.Option("--profile", "-p", help="Profile: certwright profile list")]
Lifetime = Annotated[str | None, typer.Option(help="Such as 24h or 30d; the profile's if left out.")]
Names = Annotated[list[str], typer.Argument(help="dns:api.example, spiffe://..., 10.0.0.1, ada@example.org ...")]
KeyType = Annotated[str, typer.Option(help="Key to make: P-256, P-384, RSA-3072, Ed25519, ML-DSA-65 ...")]
Idempotency = Annotated[str | None, typer.Option("--idempotency-key", help="Same key and request: same certificate.")]


@app.command()
def issue(
    names: Names,
    profile: Profile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for cert.pem, chain.pem, key.pem.")] = Path(),
    lifetime: Lifetime = None,
    key_type: KeyType = "P-256",
    force: Force = False,
    json: Json = False,
) -> None:
    """Make a key on this machine, have it certified, and write key.pem (0600), cert.pem and chain.pem."""
    from pki.cli.material import new_files, new_key
    from pki.client.rest import connect

    targets = new_files(out, force=force)
    private_key, csr = new_key(key_type)
    body = {"profile": profile, "csr": csr, "names": names, "lifetime": lifetime}
    with connect() as client:
        issued = client.post("/certificates", body)
    _write(targets, issued, private_key)
    _report(issued, list(targets.values()), as_json=json)


@app.command()
def sign(
    csr: Annotated[Path, typer.Argument(help="PKCS#10 request, PEM; - for standard input.", allow_dash=True)],
    profile: Profile,
    name: Annotated[list[str] | None, typer.Option("--name", "-n", help="Names instead of the request's own.")] = None,
    lifetime: Lifetime = None,
    subject: Annotated[str | None, typer.Option(help="RFC 4514, for OCSP signers alone.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for certificate and chain, PEM.")] = None,
    force: Force = False,
    idempotency_key: Idempotency = None,
    json: Json = False,
) -> None:
    """Have a request certified that somebody else has made."""
    from pki.cli.material import not_there
    from pki.cli.output import say
    from pki.cli.paths import read_text, write_or_print
    from pki.client.rest import connect

    not_there([out] if out is not None else [], force=force)
    body = {"profile": profile, "csr": read_text(csr), "names": name or None, "lifetime": lifetime, "subject": subject}
    with connect() as client:
        issued = client.post("/certificates", body, idempotency_key=idempotency_key)
    for wish in issued["ignored"]:
        say(f"not copied from the request: {wish}")
    if out is not None or not json:
        write_or_print(issued["certificate"] + issued["chain"], out)
    if out is not None or json:
        _report(issued, [out] if out is not None else [], as_json=json)


@app.command()
def renew(
    cert: Annotated[Path, typer.Argument(help="The certificate to renew, PEM.", exists=True, dir_okay=False)],
    key: Annotated[Path | None, typer.Option(help="Its private key; key.pem beside it if left out.")] = None,
    name: Annotated[list[str] | None, typer.Option("--name", "-n", help="Fewer names than before.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory for new files; in their place if left out.")
    ] = None,
    lifetime: Lifetime = None,
    key_type: KeyType = "P-256",
    force: Force = False,
    json: Json = False,
) -> None:
    """Renew a certificate with a new key, keeping its identity. Replaces certificate and key in their place.

    A key that does not fit the certificate is somebody else's and is left alone.

    From afar, and without another credential, the certificate and its key are the credential.
    """
    from pki.cli.material import new_files, new_key, own_files, serial_of
    from pki.client.rest import connect

    serial = serial_of(str(cert))
    targets = own_files(cert, key) if out is None else new_files(out, force=force)
    private_key, csr = new_key(key_type)
    by_holder = where.server is not None and where.token is None and where.certificate is None
    credential = {"certificate": cert, "key": key or cert.with_name("key.pem")} if by_holder else {}
    with connect(**credential) as client:
        body = {"csr": csr, "names": name or None, "lifetime": lifetime}
        issued = client.post(f"/certificates/{serial}/renew", body)
    _write(targets, issued, private_key)
    _report(issued, list(targets.values()), as_json=json)


@app.command("list")
def listing(
    name: Annotated[str | None, typer.Option(help="With this name.")] = None,
    profile: Annotated[str | None, typer.Option(help="Of this profile.")] = None,
    authority: Annotated[str | None, typer.Option(help="Signed by this authority.")] = None,
    state: Annotated[str | None, typer.Option(help="valid, held, revoked, expired or abandoned.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Asked for by this caller.")] = None,
    expires_within: Annotated[str | None, typer.Option(help="Ends within this time, soonest first: 7d")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List certificates, newest first."""
    from ca import clock
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    before = None if expires_within is None else clock.timestamp() + _seconds(expires_within)
    wanted = {"name": name, "profile": profile, "authority": authority, "state": state, "requested_by": requested_by}
    with connect() as client:
        rows = list(client.pages("/certificates", limit or None, expires_before=before, **wanted))
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {"ends": moment(row["not_after"]), "names": row["names"] or row["subject"]}
    columns = ("serial", "state", "ends", "profile", "names", "requested_by")
    shown = [[row[column] for column in columns] for row in rows]
    table((*columns[:-1], "asked for by"), shown, empty="no certificate fits")


@app.command()
def show(
    serial: Serial,
    pem: Annotated[bool, typer.Option("--pem", help="Only the certificate, PEM.")] = False,
    json: Json = False,
) -> None:
    """Show one certificate and its history in the ledger."""
    from pki.cli.material import serial_of
    from pki.cli.output import fields, print_json, table
    from pki.client.rest import Problem, connect, named

    with connect() as client:
        row = client.get(named("/certificates", serial_of(serial)))
        try:
            history = client.get("/ledger/entries", subject=row["serial"])["items"] if not pem else []
        except Problem:  # callers that may not read the ledger still see their certificate
            history = []
    if pem:
        typer.echo(row["certificate"], nl=False)
    elif json:
        print_json({**row, "history": [item["entry"] for item in history]})
    else:
        fields({name: value for name, value in row.items() if name != "certificate"})
        shown = [[_moment(item["entry"]["at"]), item["entry"]["action"], item["entry"]["by"]] for item in history]
        typer.echo("")
        table(("at", "what happened", "by"), shown, empty="its history is in the ledger, which you may not read")


def _seconds(duration: str) -> int:
    from ca.profiles.config import parse_duration

    try:
        return int(parse_duration(duration).total_seconds())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--expires-within") from None


def _moment(seconds: int) -> str:
    from ca import clock

    return clock.from_timestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(targets: dict[str, Path], issued: dict[str, Any], key: PrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from ca import files

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.replace(targets["key"], private, mode=0o600)
    files.replace(targets["cert"], (issued["certificate"] + issued["chain"]).encode())
    if "chain" in targets:
        files.replace(targets["chain"], issued["chain"].encode())


def _report(issued: dict[str, Any], paths: list[Path], *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json

    if as_json:
        print_json({**issued, "files": [str(path) for path in paths]})
        return
    shown = {name: issued[name] for name in ("serial", "profile", "authority", "not_before", "not_after")}
    fields({**shown, "files": [str(path) for path in paths]})
