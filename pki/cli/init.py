"""`certwright init`: make an installation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki.cli.options import Json
from pki.client.where import where

if TYPE_CHECKING:
    from ca.keys.algorithms import PrivateKey
    from pki.initialise import ExistingCa, Initialised


def init(
    domain: Annotated[
        str, typer.Option(help="Internal domain: profiles allow names beneath it.")
    ] = "certwright.internal",
    trust_domain: Annotated[str, typer.Option(help="SPIFFE trust domain; the domain if left out.")] = "",
    public_url: Annotated[
        str, typer.Option(help="Where CRLs are fetched without TLS; written into certificates.")
    ] = "http://localhost:8080",
    name: Annotated[str, typer.Option(help="What the CAs are called: '<name> Root CA'.")] = "Certwright",
    key_type: Annotated[
        str, typer.Option(help="P-256, P-384, RSA-3072, RSA-4096, Ed25519, ML-DSA-65 or ML-DSA-87.")
    ] = "P-256",
    store: Annotated[
        str, typer.Option(help="Database URL: postgresql://...; SQLite in the state directory if left out.")
    ] = "",
    tls: Annotated[str, typer.Option(help="Address of the TLS listener.")] = ":8443",
    plain: Annotated[str, typer.Option(help="Address of the plain listener.")] = ":8080",
    pkcs11_uri: Annotated[
        str, typer.Option(help="Make the CAs' keys in this token: 'pkcs11:token=NAME?module-path=FILE'.")
    ] = "",
    pin_file: Annotated[str, typer.Option(help="The file with the token's PIN, an absolute path.")] = "",
    root_cert: Annotated[
        Path | None, typer.Option(help="Take over this root certificate instead of making one.")
    ] = None,
    root_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    ca_cert: Annotated[Path | None, typer.Option(help="Take over this issuing CA beneath that root.")] = None,
    ca_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    json: Json = False,
) -> None:
    """Make an installation: state directory, root and issuing CA, profiles, one admin token.

    Takes seconds and asks nothing. The token is printed once.

    With --root-cert and --root-key (and --ca-cert and --ca-key) a CA that exists is taken over.
    """
    from pki.cli.material import known_key_type
    from pki.initialise import InitPlan, initialise
    from pki.settings import state_directory

    changes = {
        "installation.domain": domain,
        "installation.trust_domain": trust_domain,
        "installation.public_url": public_url.rstrip("/"),
        "store.url": store,
        "listen.tls": tls,
        "listen.plain": plain,
    }
    if pkcs11_uri:
        changes |= {"keys.store": "pkcs11", "keys.pkcs11_uri": pkcs11_uri, "keys.pin_file": pin_file}
    plan = InitPlan(
        name=name,
        key_type=known_key_type(key_type),
        changes={key: _toml(value) for key, value in changes.items()},
        root=_existing(root_cert, root_key, "--root-cert", "--root-key"),
        issuing=_existing(ca_cert, ca_key, "--ca-cert", "--ca-key"),
    )
    made = initialise(where.state or state_directory(), plan)
    _report(made, as_json=json)


def _existing(certificate: Path | None, key: Path | None, *options: str) -> ExistingCa | None:
    from pki.cli.material import read_certificate
    from pki.initialise import ExistingCa

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise typer.BadParameter(f"{options[0]} and {options[1]} go together")
    return ExistingCa(read_certificate(certificate), _read_key(key))


def _read_key(path: Path) -> PrivateKey:
    """Read a private key; ask for its passphrase if it has one."""
    from ca.secret import Secret
    from ca.x509.bundle import read_private_key

    content = path.read_bytes()
    if b"ENCRYPTED" not in content:
        return read_private_key(content, None)
    return read_private_key(content, Secret(typer.prompt(f"passphrase of {path}", hide_input=True, err=True)))


def _toml(value: str) -> str:
    import json

    return json.dumps(value)  # a JSON string is a TOML string


def _report(made: Initialised, *, as_json: bool) -> None:
    from ca.x509.certificate import fingerprint
    from pki.cli.output import fields, print_json, say

    values = {
        "state": str(made.state),
        "root": made.root.name,
        "root_sha256": fingerprint(made.root.certificate),
        "issuing": made.issuing.name,
        "ledger_verifier": made.verifier,
        "token": made.token.reveal(),
    }
    if as_json:
        print_json({**values, "made_passphrase": made.made_passphrase})
        return
    fields(values)
    say("")
    say("the token is the first admin's: it is shown once and ends in 90 days")
    if made.made_passphrase:
        say("the passphrase of the keys lies beside them, in the state directory: move it to a systemd credential")
    state = "" if where.state is None else f" --state {made.state}"
    say(f"next: certwright{state} serve")
