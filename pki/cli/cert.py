"""`certwright cert`: issue, sign, renew, revoke, list, show. Private keys are made here, on the user's machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes, where

if TYPE_CHECKING:
    from ca.keys.algorithms import PrivateKey

app = typer.Typer(help="Certificates: issue, sign, renew, revoke, list, show.", no_args_is_help=True)

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
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json: Json = False,
) -> None:
    """Make a key on this machine, have it certified, and write key.pem (0600), cert.pem and chain.pem."""
    from pki.cli.client import connect

    targets = _targets(out, force=force)
    private_key, csr = _new_key(key_type)
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
    idempotency_key: Idempotency = None,
    json: Json = False,
) -> None:
    """Have a request certified that somebody else has made."""
    from ca import files
    from pki.cli.client import connect
    from pki.cli.output import print_json, say

    text = typer.get_text_stream("stdin").read() if str(csr) == "-" else csr.read_text()
    body = {"profile": profile, "csr": text, "names": name or None, "lifetime": lifetime, "subject": subject}
    with connect() as client:
        issued = client.post("/certificates", body, idempotency_key=idempotency_key)
    for wish in issued["ignored"]:
        say(f"not copied from the request: {wish}")
    if out is not None:
        files.replace(out, (issued["certificate"] + issued["chain"]).encode())
    if json:
        print_json(issued)
    elif out is None:
        typer.echo(issued["certificate"] + issued["chain"], nl=False)
    else:
        _report(issued, [out], as_json=False)


@app.command()
def renew(
    cert: Annotated[Path, typer.Argument(help="The certificate to renew, PEM.", exists=True, dir_okay=False)],
    key: Annotated[Path | None, typer.Option(help="Its private key, to renew as its holder.")] = None,
    name: Annotated[list[str] | None, typer.Option("--name", "-n", help="Fewer names than before.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Directory; the certificate's own if left out.")
    ] = None,
    lifetime: Lifetime = None,
    key_type: KeyType = "P-256",
    json: Json = False,
) -> None:
    """Renew a certificate with a new key, keeping its identity. Replaces cert.pem, chain.pem and key.pem together."""
    from ca.x509.bundle import read_certificates
    from ca.x509.certificate import serial_text
    from pki.cli.client import connect

    serial = serial_text(read_certificates(cert.read_bytes())[0].serial_number)
    targets = _targets(out or cert.parent, force=True)
    private_key, csr = _new_key(key_type)
    by_holder = where.server is not None and (key is not None or where.token is None)
    credential = {"certificate": cert, "key": key or cert.with_name("key.pem")} if by_holder else {}
    with connect(**credential) as client:
        body = {"csr": csr, "names": name or None, "lifetime": lifetime}
        issued = client.post(f"/certificates/{serial}/renew", body)
    _write(targets, issued, private_key)
    _report(issued, list(targets.values()), as_json=json)


@app.command()
def revoke(
    serial: Annotated[str | None, typer.Argument(help="Serial number, hex; or a certificate file, PEM.")] = None,
    reason: Annotated[str, typer.Option(help="key-compromise, superseded, cessation-of-operation ...")] = "unspecified",
    key: Annotated[str | None, typer.Option(help="Everything with this public key: SHA-256, or a PEM file.")] = None,
    name: Annotated[str | None, typer.Option(help="Everything with this name.")] = None,
    profile: Annotated[str | None, typer.Option(help="Everything of this profile.")] = None,
    authority: Annotated[str | None, typer.Option(help="Everything that this authority has signed.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Everything that this caller has asked for.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Revoke one certificate, all with a key, or all that a filter finds. The CRLs follow within seconds."""
    from pki.cli.client import connect
    from pki.cli.output import ask, print_json, say

    wanted = {"name": name, "profile": profile, "authority": authority, "requested_by": requested_by}
    chosen = {field: value for field, value in wanted.items() if value is not None}
    if (serial is not None) + (key is not None) + bool(chosen) != 1:
        raise typer.BadParameter("say exactly one of: a serial number, --key, or a filter")
    with connect() as client:
        if serial is not None:
            done = client.post(f"/certificates/{_serial(serial)}/revoke", {"reason": reason})
        elif key is not None:
            ask(f"the key {key} will be blocked for ever and all that carries it revoked: go on?", yes=yes)
            done = client.post("/certificates/revocations", {"reason": reason, "key": key_hash(key)})
        else:
            body: dict[str, Any] = {"reason": reason, "filter": chosen}
            found = client.post("/certificates/revocations", {**body, "dry_run": True})
            ask(f"{len(found['serials'])} certificates will be revoked: go on?", yes=yes)
            done = client.post("/certificates/revocations", body)
    if json:
        print_json(done)
    else:
        say(f"revoked {len(done['serials'])}" + (" and blocked the key" if done["key_blocked"] else ""))


@app.command("list")
def listing(
    name: Annotated[str | None, typer.Option(help="With this name.")] = None,
    profile: Annotated[str | None, typer.Option(help="Of this profile.")] = None,
    authority: Annotated[str | None, typer.Option(help="Signed by this authority.")] = None,
    state: Annotated[str | None, typer.Option(help="valid, revoked, expired or abandoned.")] = None,
    requested_by: Annotated[str | None, typer.Option(help="Asked for by this caller.")] = None,
    expires_within: Annotated[str | None, typer.Option(help="Ends within this time, soonest first: 7d")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.")] = 50,
    json: Json = False,
) -> None:
    """List certificates, newest first."""
    from ca import clock
    from pki.cli.client import connect
    from pki.cli.output import print_json, table

    before = None
    if expires_within is not None:
        from ca.profiles.config import parse_duration

        try:
            before = clock.timestamp() + int(parse_duration(expires_within).total_seconds())
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--expires-within") from None
    wanted = {"name": name, "profile": profile, "authority": authority, "state": state, "requested_by": requested_by}
    with connect() as client:
        rows = list(client.pages("/certificates", limit or None, expires_before=before, **wanted))
    if json:
        print_json(rows)
        return
    columns = ("serial", "state", "names", "profile", "not_after", "requested_by")
    shown = [[row[c] if c != "names" else row[c] or [row["subject"]] for c in columns] for row in rows]
    table(("serial", "state", "names", "profile", "ends", "asked for by"), shown, empty="no certificate fits")


@app.command()
def show(
    serial: Serial,
    pem: Annotated[bool, typer.Option("--pem", help="Only the certificate, PEM.")] = False,
    json: Json = False,
) -> None:
    """Show one certificate and its history in the ledger."""
    from pki.cli.client import Problem, connect
    from pki.cli.output import fields, print_json, table

    with connect() as client:
        row = client.get(f"/certificates/{_serial(serial)}")
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
        table(("at", "what happened", "by"), shown, empty="")


def key_hash(text: str) -> str:
    """SHA-256 of a public key: as given, or of the key in a PEM file (certificate, request or public key)."""
    from hashlib import sha256

    from ca.x509.bundle import read_public_key

    if len(text) == 64 and not Path(text).exists():
        return text.lower()
    return sha256(read_public_key(Path(text).read_bytes())).hexdigest()


def _serial(text: str) -> str:
    from ca.x509.bundle import read_certificates
    from ca.x509.certificate import serial_text

    path = Path(text)
    if path.is_file():
        return serial_text(read_certificates(path.read_bytes())[0].serial_number)
    return text


def _moment(seconds: int) -> str:
    from ca import clock

    return clock.from_timestamp(seconds).isoformat()


def _new_key(key_type: str) -> tuple[PrivateKey, str]:
    """A fresh key, and a request that says nothing but that we hold it."""
    from ca.keys.algorithms import KeyType
    from ca.x509.request import make_request

    try:
        chosen = KeyType(key_type)
    except ValueError:
        raise typer.BadParameter(f"{key_type} is not one of {', '.join(KeyType)}", param_hint="--key-type") from None
    key = chosen.generate()
    return key, make_request(key)


def _targets(directory: Path, *, force: bool) -> dict[str, Path]:
    targets = {name: directory / f"{name}.pem" for name in ("key", "cert", "chain")}
    taken = [str(path) for path in targets.values() if path.exists()]
    if taken and not force:
        raise typer.BadParameter(
            f"there already is {', '.join(taken)}; choose another directory with --out, or --force"
        )
    directory.mkdir(parents=True, exist_ok=True)
    return targets


def _write(targets: dict[str, Path], issued: dict[str, Any], key: PrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    from ca import files

    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.replace(targets["key"], private, mode=0o600)
    files.replace(targets["cert"], (issued["certificate"] + issued["chain"]).encode())
    files.replace(targets["chain"], issued["chain"].encode())


def _report(issued: dict[str, Any], paths: list[Path], *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json

    if as_json:
        print_json({**issued, "files": [str(path) for path in paths]})
        return
    shown = {name: issued[name] for name in ("serial", "profile", "authority", "not_before", "not_after")}
    fields({**shown, "files": [str(path) for path in paths]})
