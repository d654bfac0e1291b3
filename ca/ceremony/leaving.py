"""How the key of a CA leaves this machine, and how it comes back.

Two steps, so that no key is lost: it is exported, encrypted with a passphrase of its own; and when that file, as it was
read back from where it is kept, is shown to open and to hold this very key, the one here is destroyed. What backups
hold of it from before is encrypted with the installation's passphrase, and is not reached from here.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from cryptography import x509
from sqlalchemy import delete, update
from sqlmodel import col

from ca import approval, crl, signing
from ca.access import Caller, Operation
from ca.authority import KEYLESS, OFFLINE, Issuer, State
from ca.ceremony.asking import LIST_LIFETIME, draw_up_list
from ca.errors import BadRequest, Conflict, Forbidden
from ca.installation import Installation
from ca.keys import KeyImport
from ca.keys.algorithms import PrivateKey, spki
from ca.keys.pkcs8 import encrypt_pkcs8
from ca.ledger import log
from ca.models import Authority, DeltaList
from ca.secret import Secret
from ca.store import Transaction
from ca.x509.bundle import read_private_key

SHORTEST_PASSPHRASE = 12
TRIES = 5


def export(installation: Installation, caller: Caller, name: str, passphrase: Secret) -> bytes:
    """The key of a CA, PEM, encrypted with this passphrase. Nothing else changes: `leave` is what takes it away."""
    row = _authority(installation, caller, name)
    if row.key_label == OFFLINE:
        raise Conflict(f"the key of {row.name} is offline already", code="key-offline")
    approval.must(installation, caller, "have the key of a CA leave", row.name, spends=False)
    if len(passphrase.reveal()) < SHORTEST_PASSPHRASE:
        raise BadRequest(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters", code="short-passphrase")
    try:
        pem = encrypt_pkcs8(installation.authorities.issuer(row.name).key, passphrase)
    except TypeError:  # what `cryptography` says of keys that do not leave their device
        raise BadRequest(
            f"the key of {row.name} is in a device that it does not leave",
            code="key-not-exportable",
            hint="take the device off the machine: the CA then signs where it is plugged in",
        ) from None

    def unit(tx: Transaction) -> None:
        log.append(tx, "authority-key-exported", row.name, caller.identity)

    installation.store.write(unit)
    return pem


def leave(
    installation: Installation,
    caller: Caller,
    name: str,
    pem: bytes,
    passphrase: Secret,
    *,
    list_lifetime: timedelta = LIST_LIFETIME,
) -> Authority:
    """Destroy the key of a CA, which `pem` is shown to hold. It signs a CRL of long life before; may be done again."""
    row = _authority(installation, caller, name)
    _opened(row, pem, passphrase)
    if row.key_label == OFFLINE:
        return row
    approval.must(installation, caller, "have the key of a CA leave", row.name)
    _publish_long(installation, installation.authorities.issuer(row.name), list_lifetime)
    # First the key, then the row: after a crash in between the row names a key that is not there, and this is repeated.
    installation.keys.destroy(row.key_label)

    def unit(tx: Transaction) -> None:
        _relabel(tx, row, OFFLINE)
        tx.execute(delete(DeltaList).where(col(DeltaList.authority_id) == row.id))
        log.append(tx, "authority-key-left", row.name, caller.identity, key_label=OFFLINE, was=row.key_label)

    installation.store.write(unit)
    installation.authorities.forget()
    return installation.authorities.get(row.name)


def come_back(installation: Installation, caller: Caller, name: str, pem: bytes, passphrase: Secret) -> Authority:
    """Take the key of an offline CA in again: it signs here from now on."""
    row = _authority(installation, caller, name)
    if row.key_label != OFFLINE:
        raise Conflict(f"the key of {row.name} is here", code="key-online")
    if not isinstance(installation.keys, KeyImport):
        raise BadRequest("this key store makes its own keys and takes none in", code="key-import-unsupported")
    key = _opened(row, pem, passphrase)
    approval.must(installation, caller, "take the key of a CA in", row.name)
    label = f"{row.name}-{secrets.token_hex(4)}"
    installation.keys.put(label, key)

    def unit(tx: Transaction) -> None:
        _relabel(tx, row, label)
        crl.touch(tx, row.id or 0, ())
        log.append(tx, "authority-key-returned", row.name, caller.identity, key_label=label, was=OFFLINE)

    try:
        installation.store.write(unit)
    except Exception:
        installation.keys.destroy(label)
        raise
    installation.authorities.forget()
    return installation.authorities.get(row.name)


def _authority(installation: Installation, caller: Caller, name: str) -> Authority:
    """The CA, if its key may leave or come; a private key does not travel over a network."""
    caller.must(Operation.MANAGE_AUTHORITIES)
    if not caller.is_local:
        hint = "run certwright ca take-offline or bring-back there"
        raise Forbidden("keys leave and return on the machine itself", code="local-only", hint=hint)
    row = installation.authorities.get(name)
    if row.key_label == KEYLESS:
        raise Conflict(f"the key of {row.name} is somebody else's", code="key-elsewhere")
    if row.state == State.RETIRED:
        raise Conflict(f"{row.name} is retired and signs nothing any more", code="authority-retired")
    if row.crl_shards:
        raise Conflict(
            f"{row.name} keeps {row.crl_shards} CRL shards for the leaves that it issues, which an offline CA cannot",
            code="not-for-offline",
            hint="a root, or a CA that was made with --shards 0, can go offline",
        )
    return row


def _opened(row: Authority, pem: bytes, passphrase: Secret) -> PrivateKey:
    """The key in a file; `BadRequest` if it does not open or is not the one of this CA."""
    key = read_private_key(pem, passphrase)
    public_key = x509.load_der_x509_certificate(row.certificate).public_key()
    if spki(key.public_key()) != spki(public_key):  # type: ignore[arg-type]
        raise BadRequest(f"this is not the key of {row.name}", code="wrong-key")
    return key


def _publish_long(installation: Installation, issuer: Issuer, lifetime: timedelta) -> None:
    """The list that is served until the first ceremony; it names no delta, since there will be none."""
    for _ in range(TRIES):
        draft = draw_up_list(installation, issuer, lifetime)
        if crl.publish(installation, draft, signing.seal_list(draft.tbs, issuer)) is not None:
            return
    raise Conflict(f"the list of {issuer.name} keeps changing; ask again", code="changed-meanwhile")


def _relabel(tx: Transaction, row: Authority, label: str) -> None:
    same = col(Authority.id) == row.id, col(Authority.key_label) == row.key_label
    if tx.execute(update(Authority).where(*same).values(key_label=label)).rowcount != 1:
        raise Conflict(f"the key of {row.name} was moved meanwhile", code="changed-meanwhile")
