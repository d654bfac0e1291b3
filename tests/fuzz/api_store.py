"""What a campaign leaves behind: every certificate, every ledger entry and every table, judged once it is over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography import x509
from sqlalchemy import select

from ca.access import Operation as Op
from ca.access import Role, allowed
from ca.certificates import Query, Stored, page
from ca.ledger.reconcile import audit
from ca.models import ApiToken, Authority, BlockedKey, Ceremony, CrossCertificate, Intent, LedgerEntry, Revocation
from pki.product import Product
from renewers.models import Renewal
from tests import rig
from tests.fuzz.api_policy import Asker, leaf_faults, read_profiles
from tests.fuzz.api_wire import Ask
from tests.fuzz.api_world import World

RENEWER = "system:renewers"
"""Who asks for what is renewed, as an operator."""
SYSTEM = "system:"
"""How all those are called who ask for something without having been asked over the API."""
NEEDED: Mapping[str, tuple[Op, ...]] = {
    "certificate-issued": (Op.ISSUE, Op.RENEW_ANY, Op.RENEW_OWN, Op.MANAGE_AUTHORITIES),
    "certificate-revoked": (Op.REVOKE_ANY, Op.REVOKE_OWN),
    "authority-created": (Op.MANAGE_AUTHORITIES,),
    "authority-activated": (Op.MANAGE_AUTHORITIES,),
    "authority-tainted": (Op.MANAGE_AUTHORITIES,),
    "authority-retired": (Op.MANAGE_AUTHORITIES,),
    "token-created": (Op.MANAGE_TOKENS,),
    "token-revoked": (Op.MANAGE_TOKENS,),
    "sign-in-link-made": (Op.READ_AUTHORITIES,),
    **dict.fromkeys(("signed-in", "signed-out"), tuple(Op)),
    "key-blocked": (Op.BLOCK_KEYS, Op.REVOKE_OWN),
    **dict.fromkeys(
        ("owner-added", "owner-changed", "owner-removed", "claim-added", "claim-released"), (Op.MANAGE_OWNERS,)
    ),
    **dict.fromkeys(
        ("lineage-created", "lineage-changed", "lineage-removed", "owner-assigned"), (Op.MANAGE_INVENTORY,)
    ),
    **dict.fromkeys(("certificate-tracked", "scan-started", "scan-finished"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("destination-added", "destination-changed", "destination-removed"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("delivery-asked", "endpoint-forgotten"), (Op.MANAGE_INVENTORY,)),
    "renewal-asked": (Op.RENEW_ANY,),
    **dict.fromkeys(("acknowledged", "acknowledgement-withdrawn", "letter-bounced"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("mailbox-revived", "calendar-moved"), (Op.MANAGE_OWNERS,)),
    "account-key-roll-asked": (Op.MANAGE_AUTHORITIES,),
    **dict.fromkeys(("replacement-begun", "replacement-stopped"), (Op.MANAGE_INVENTORY,)),
    "consumer-added": (Op.MANAGE_CONSUMERS, Op.MANAGE_INVENTORY),
    **dict.fromkeys(("consumer-changed", "consumer-removed", "consumer-paused"), (Op.MANAGE_CONSUMERS,)),
    **dict.fromkeys(("consumer-resumed", "consumer-asked-again", "consumer-secret-rotated"), (Op.MANAGE_CONSUMERS,)),
    **dict.fromkeys(("foreign-anchors-changed", "foreign-anchors-removed"), (Op.MANAGE_CONSUMERS,)),
    **dict.fromkeys(("rotation-started", "rotation-stage"), (Op.MANAGE_AUTHORITIES,)),
}
"""What somebody must be allowed who is named in an entry; a holder who revokes its certificate may block its key."""


class Remains:
    """The store after a campaign. `faults` goes through all of it."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._store = product.installation.store
        self._profiles = read_profiles()
        self.certificates = {stored.serial: stored for stored in self._pages()}
        self._tokens = {row.name: row for row in self._rows(ApiToken)}
        self._authorities = {row.name: row for row in self._rows(Authority)}

    def faults(self, expected: int) -> Iterator[str]:
        """Everything that should not be there, or not like this; `expected` is how many certificates were answered."""
        signed = [one for one in self.certificates.values() if one.signature is not None]  # others were given up
        self._product.settle()
        seen: set[int] = set()
        for stored in signed:
            yield from (f"unsound: {stored.serial} ({stored.profile}): {fault}" for fault in self._certificate(stored))
            number = int(stored.serial, 16)
            if number in seen or not 1 << 128 <= number < 1 << 159:
                yield f"unsound: {stored.serial} is a serial number twice, or not a random one"
            seen.add(number)
        renewed = sum(stored.requested_by == RENEWER for stored in signed)
        asked = sum(not stored.requested_by.startswith(SYSTEM) for stored in signed)
        if asked != expected:
            yield f"unrecorded: {expected} certificates were answered, {asked} are recorded"
        known = sum(row.issued_at is not None and row.issuer == "internal" for row in self._rows(Renewal))
        if known != renewed:
            yield f"unrecorded: {renewed} certificates were renewed, {known} renewals know of one"
        carried = {row.serial for row in self._rows(Ceremony) if row.outcome is None}
        if left := sum(row.serial not in carried for row in self._rows(Intent)):
            yield f"unrecorded: {left} intents are left"
        yield from self._revocations()
        yield from self._entries()
        report = audit(self._store, self._product.installation.ledger.verifier)
        yield from (f"ledger: {finding.message}" for finding in report.findings)

    def _certificate(self, stored: Stored) -> Iterator[str]:
        certificate = x509.load_der_x509_certificate(stored.der)
        issuer = self._authorities[stored.authority]
        authority = x509.load_der_x509_certificate(issuer.certificate)
        certificate.verify_directly_issued_by(authority)
        if certificate.not_valid_after_utc > authority.not_valid_after_utc:
            yield "it outlives its issuer"
        if f"{certificate.serial_number:x}" != stored.serial:
            yield "it has another serial number"
        profile, asker = self._profiles[stored.profile], self.asker(stored.requested_by)
        is_asked = issuer.line.startswith("safe-") and profile.get("kind") == "authority"  # in a ceremony, by its name
        if issuer.line != profile["issuer"] and profile.get("kind") != "probe" and not is_asked:
            yield f"it is signed by {issuer.name}"
        if asker is None:
            yield f"nobody knows {stored.requested_by}"
            return
        if profile.get("kind") == "authority":
            yield from self._sub_ca(stored, certificate, asker)
            return
        if profile.get("kind") in ("publication", "probe"):
            yield from _own(stored, profile["kind"])
            return
        if profile.get("kind") == "ocsp" and asker.role != "admin":
            yield f"it was made for {stored.requested_by}"
        yield from self._predecessor(stored, asker)
        before = self.certificates.get(stored.renews or "")
        predecessor = None if before is None else x509.load_der_x509_certificate(before.der)
        yield from leaf_faults(certificate, profile, asker, predecessor)

    def _predecessor(self, stored: Stored, asker: Asker) -> Iterator[str]:
        """What it renews was the asker's own, or anything is; what renews nothing was within the asker's profiles."""
        may = allowed(Role(asker.role))
        if stored.renews is None:
            if Op.ISSUE not in may:
                yield f"{stored.requested_by} has the role {asker.role}"
            if asker.profiles is not None and stored.profile not in asker.profiles:
                yield f"{stored.requested_by} may ask for {sorted(asker.profiles)}"
            return
        before = self.certificates[stored.renews]
        is_own = before.requested_by == stored.requested_by or stored.requested_by == f"certificate:{before.serial}"
        if before.profile != stored.profile or not (Op.RENEW_ANY in may or is_own):
            yield f"it renews {before.serial} of {before.requested_by}, profile {before.profile}"

    def _sub_ca(self, stored: Stored, certificate: x509.Certificate, asker: Asker) -> Iterator[str]:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_cross = stored.profile == "cross-ca"
        if not constraints.ca or constraints.path_length != is_cross:
            yield "it is no issuing CA"
        if is_cross and stored.serial in {row.serial for row in self._rows(CrossCertificate)}:
            return
        if stored.der not in {row.certificate for row in self._authorities.values()} or asker.role != "admin":
            yield f"it is a CA that is not in our hierarchy, made for {stored.requested_by}"

    def asker(self, identity: str) -> Asker | None:
        """Who an identity is, by the tables."""
        kind, _, name = identity.partition(":")
        if kind == "local":
            return Asker("admin", None, {})
        if identity.startswith(SYSTEM):
            return Asker("operator" if identity == RENEWER else "admin", None, {})
        if kind == "token" and name in self._tokens:
            row = self._tokens[name]
            profiles = json.loads(row.profiles)
            return Asker(row.role, None if profiles is None else frozenset(profiles), json.loads(row.attributes))
        if kind == "certificate" and name in self.certificates:
            stored = self.certificates[name]
            held = {str(held) for held in stored.names()}
            is_granted = stored.profile == "client" and "email:operator@example.internal" in held
            return Asker("operator" if is_granted else "holder", None, {})
        return None

    def _revocations(self) -> Iterator[str]:
        """Each was asked for by somebody who may, or whose own it was; and a blocked key is not certified again."""
        for row in self._rows(Revocation):
            asker, stored = self.asker(row.revoked_by), self.certificates.get(row.serial)
            if stored is None or asker is None:
                yield f"revocation: {row.serial} by {row.revoked_by}: there is no such certificate or caller"
                continue
            is_own = row.revoked_by in (stored.requested_by, f"certificate:{row.serial}")
            spread = row.reason == 1  # for key compromise, whatever carries the key goes, whoever asked for it
            if Op.REVOKE_ANY not in allowed(Role(asker.role)) and not is_own and not spread:
                yield f"revocation: {row.serial} of {stored.requested_by} by {row.revoked_by}"
        blocked = {row.spki_sha256: row.blocked_at for row in self._rows(BlockedKey)}
        crossed = {row.serial for row in self._rows(CrossCertificate)}
        for stored in self.certificates.values():
            since = blocked.get(stored.spki_sha256, stored.recorded_at)
            is_given_up = stored.signature is None  # such as a cross-certificate whose ceremony was withdrawn
            if stored.serial not in crossed and not is_given_up and stored.recorded_at > since:
                yield f"blocked: {stored.serial} was issued for a key that was blocked before"

    def _entries(self) -> Iterator[str]:
        """Nothing was done by somebody who may not."""
        for row in self._rows(LedgerEntry):
            body = json.loads(row.body)
            needed, asker = NEEDED.get(body["action"]), self.asker(body["by"])
            if needed is None or body["by"].startswith("system:"):
                continue
            if asker is None or not any(operation in allowed(Role(asker.role)) for operation in needed):
                yield f"right: {body['by']} did {body['action']} to {row.subject}"

    def _pages(self) -> Iterator[Stored]:
        cursor = None
        while True:
            found, cursor = page(self._store, Query(), cursor=cursor, limit=500)
            yield from found
            if cursor is None:
                return

    def _rows(self, table: Any) -> list[Any]:
        with self._store.read() as connection:
            return list(connection.execute(select(table)).all())


def _own(stored: Stored, kind: str) -> Iterator[str]:
    """What we issue to ourselves has one name, which nobody else gets."""
    name = {"publication": "publications", "probe": "probe"}[kind]
    if [str(held) for held in stored.names()] != [f"uri:spiffe://{rig.DOMAIN}/certwright/{name}"]:
        yield f"it has the names {stored.names()}"
    if not stored.requested_by.startswith(SYSTEM):
        yield f"it was made for {stored.requested_by}"


async def still_answers(world: World) -> list[str]:
    """Whether the application does its work after everything that was done to it."""
    found = []
    for method, path, callers in (
        ("GET", "/healthz", ("nobody",)),
        ("GET", "/api/v1/me", ("local", "admin", "requester", "auditor")),
        ("GET", "/bundles/roots.pem", ("nobody",)),
    ):
        for caller in callers:
            answer = await world.exchange(Ask(f"{method} {path}", caller, "last", method, path))
            if answer.status != 200:
                found.append(f"silent: {caller} gets {answer.status} for {path}: {answer.body[:200]!r}")
    try:
        await world.give_certificate("server")
    except AssertionError as error:
        found.append(f"silent: {error}")
    return found
