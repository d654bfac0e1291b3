"""Every credential at every door: who may do what over the REST API, as one table, and nothing besides (row 2).

`DOORS` lists one representative request a route, and which credentials it lets in. All other pairs are refused with
401 or 403 and leave no trace in the store. A route that is not listed fails a test.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import access, approval, clock, external, hierarchy, holding, revocation, sessions, signing
from ca.access import Caller, Operation, Role
from ca.authority import OFFLINE
from ca.ceremony import asking, leaving, offline
from ca.ceremony.documents import read_request
from ca.errors import Forbidden
from ca.founding import Plan, self_signed
from ca.installation import ApprovalPolicy
from ca.issuance import Issued
from ca.keys.algorithms import KeyType
from ca.secret import Secret
from ca.x509.bundle import pem_certificate, read_private_key
from ca.x509.names import parse
from ca.x509.revocation_list import RevocationReason
from pki import lifecycle_schedule
from pki.catching_up import catch_up
from pki.product import Product
from renewers.answering import mailboxes
from renewers.delivering import destinations
from renewers.delivering.destinations import DestinationPlan
from renewers.discovery import record
from renewers.distribution import consumers, foreign, published
from renewers.distribution.consumers import ConsumerPlan
from renewers.inventory import lineages, owners
from renewers.inventory.facts import read_certificate
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.inventory.track import track
from renewers.replacing import replacement
from renewers.replacing.plans import ReplacementPlan
from renewers.replacing.selection import Selection
from renewers.rotation import starting, steering
from renewers.rotation.plans import RotationPlan
from tests import rig
from tests.pki.conftest import (
    API,
    LOCALLY,
    NOBODY,
    Credential,
    Server,
    World,
    bearer,
    csr,
    key_pem,
    presenting,
    problem,
    routes,
    wish,
    write_pair,
)
from tests.pki.test_authority_requests import chain_for

HOUR = timedelta(hours=1)
GRANTS = [
    {"profile": "client", "name": f"email:{role}@example.internal", "role": role}
    for role in ("admin", "operator", "consumer", "auditor")
] + [{"profile": "client", "name": "email:requester@example.internal", "role": "requester", "profiles": ["server"]}]


@pytest.fixture
def product(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    """An installation whose settings give a role to some certificates."""
    monkeypatch.setenv("CERTWRIGHT_IDENTITY__CERTIFICATES", json.dumps(GRANTS))
    with Product.open(state) as opened:
        yield opened


@dataclass(frozen=True)
class Stand:
    """Somebody at a door: the credential, a certificate that is its own, and when it comes."""

    credential: Credential
    own: str
    later: timedelta = field(default=timedelta(0))


Maker = Callable[[World], Stand]


def with_token(role: Role) -> Maker:
    """A token of a role, and a certificate that it asked for."""

    def make(world: World) -> Stand:
        name = f"{role}-{time.monotonic_ns()}"
        credential = world.token(role, name=name)
        return Stand(credential, requested_by(world, f"token:{name}"))

    return make


def requested_by(world: World, identity: str) -> str:
    """The serial number of a mesh certificate that somebody asked for."""
    return rig.issue(world.installation, caller=Caller(identity, Role.OPERATOR)).serial


def with_certificate(*names: str, **choices: Any) -> Maker:
    """A certificate of ours, which is its own."""

    def make(world: World) -> Stand:
        holder = world.holder(*names, **choices)
        return Stand(holder.credential, holder.serial)

    return make


def local(world: World) -> Stand:
    """Whoever can open the Unix socket."""
    return Stand(LOCALLY, requested_by(world, "local:uid=0"))


def nobody(world: World) -> Stand:
    """No credential."""
    return Stand(NOBODY, world.holder().serial)


def header(name: str, value: str) -> Maker:
    """A header, on a connection without a certificate."""
    return lambda world: Stand(Credential({name: value}), world.holder().serial)


def unknown_token(world: World) -> Stand:
    """The form of a token, with an id that exists and another secret."""
    real = world.secret(Role.ADMIN)
    return Stand(bearer(real[:-43] + "A" * 43), world.holder().serial)


def ended_token(world: World) -> Stand:
    """An admin's token, made for an hour, two hours later."""
    return Stand(world.token(Role.ADMIN, lifetime=HOUR), world.holder().serial, 2 * HOUR)


def revoked_token(world: World) -> Stand:
    """An admin's token that was revoked."""
    credential = world.token(Role.ADMIN, name=(name := f"gone-{time.monotonic_ns()}"))
    world.local.delete(f"{API}/tokens/{name}").raise_for_status()
    return Stand(credential, world.holder().serial)


def revoked_certificate(world: World) -> Stand:
    """A certificate that carried the role of an admin, until it was revoked."""
    holder = world.holder("email:admin@example.internal")
    revocation.revoke(world.installation, rig.ADMIN, holder.serial, RevocationReason.SUPERSEDED)
    return Stand(holder.credential, holder.serial)


def ended_certificate(world: World) -> Stand:
    """The same, after its end."""
    holder = world.holder("email:admin@example.internal", lifetime=HOUR)
    return Stand(holder.credential, holder.serial, 2 * HOUR)


def retired_authority(world: World) -> Stand:
    """The same, signed by a CA that was retired since."""
    holder = world.holder("email:admin@example.internal")
    plan = Plan("issuing", rig.common_name(f"Issuing CA {time.monotonic_ns()}"), KeyType.P256, crl_shards=1)
    made = hierarchy.create_subordinate(world.installation, rig.ADMIN, "sub-ca", plan)
    world.product.publisher.publish_due()
    hierarchy.transition(world.installation, rig.ADMIN, made.name, hierarchy.State.ACTIVE)
    hierarchy.transition(world.installation, rig.ADMIN, holder.issued.authority, hierarchy.State.RETIRED)
    return Stand(holder.credential, holder.serial)


def _copied(issued: Issued, issuer: x509.Certificate, key: Any) -> bytes:
    """A certificate with the serial number, names and extensions of another, signed by somebody else."""
    original = x509.load_der_x509_certificate(issued.certificate)
    builder = x509.CertificateBuilder(issuer.subject, original.subject, original.public_key(), original.serial_number)
    builder = builder.not_valid_before(original.not_valid_before_utc).not_valid_after(original.not_valid_after_utc)
    for extension in original.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def foreign_certificate(world: World) -> Stand:
    """A stranger's CA of the same name has signed the same serial number and names."""
    holder = world.holder("email:admin@example.internal")
    ours = world.installation.authorities.issuer_for("issuing").certificate
    return Stand(presenting(_copied(holder.issued, ours, rig.pooled_key(place=30))), holder.serial)


def unrecorded_certificate(world: World) -> Stand:
    """Our own CA has signed it, and this installation does not know it: a thief's, or one of a cut-off ledger."""
    holder = world.holder("email:admin@example.internal")
    issuer = world.installation.authorities.issuer_for("issuing")
    return Stand(presenting(_copied(holder.issued, issuer.certificate, issuer.key)), holder.serial)


def another_signature(world: World) -> Stand:
    """The very certificate, signed once more: all but the signature is the same."""
    holder = world.holder("email:admin@example.internal")
    issuer = world.installation.authorities.issuer_for("issuing")
    tbs = x509.load_der_x509_certificate(holder.issued.certificate).tbs_certificate_bytes
    again = next(der for _ in range(9) if (der := signing.seal(tbs, issuer)[1]) != holder.issued.certificate)
    return Stand(presenting(again), holder.serial)


def authoritys_certificate(world: World) -> Stand:
    """The issuing CA itself, which is in the inventory like a leaf."""
    row = world.installation.authorities.get("issuing")
    return Stand(presenting(row.certificate), row.serial)


def forged(name: str, write: Callable[[bytes], str]) -> Maker:
    """A header that a proxy would set, with a valid admin's certificate in it; there is no proxy."""

    def make(world: World) -> Stand:
        holder = world.holder("email:admin@example.internal")
        verified = {"X-SSL-Client-Verify": "SUCCESS", "X-SSL-Client-Serial": holder.serial}
        return Stand(Credential({**verified, name: write(holder.issued.certificate)}), holder.serial)

    return make


def _escaped(der: bytes) -> str:
    return quote(pem_certificate(der))


REFUSED: dict[str, Maker] = {
    "nobody": nobody,
    "garbage": header("Authorization", "Bearer garbage"),
    "empty bearer": header("Authorization", "Bearer "),
    "half a token": header("Authorization", "Bearer cw_0123456789ab_"),
    "basic": header("Authorization", "Basic YWRtaW46YWRtaW4="),
    "unknown token": unknown_token,
    "ended token": ended_token,
    "revoked token": revoked_token,
    "revoked certificate": revoked_certificate,
    "ended certificate": ended_certificate,
    "retired authority": retired_authority,
    "foreign certificate": foreign_certificate,
    "unrecorded certificate": unrecorded_certificate,
    "another signature": another_signature,
    "server certificate": with_certificate("localhost", profile="server"),
    "X-Client-Cert": forged("X-Client-Cert", _escaped),
    "X-SSL-Client-Cert": forged("X-SSL-Client-Cert", _escaped),
    "X-Tls-Client-Cert": forged("X-Tls-Client-Cert", lambda der: base64.b64encode(der).decode()),
    "X-Forwarded-Client-Cert": forged("X-Forwarded-Client-Cert", lambda der: f'By=x;Hash=y;Cert="{_escaped(der)}"'),
    "Client-Cert (RFC 9440)": forged("Client-Cert", lambda der: f":{base64.b64encode(der).decode()}:"),
}
"""Credentials that do not hold: each gets 401 wherever an identity is needed."""

HOLDS: dict[str, Maker] = {
    "admin": with_token(Role.ADMIN),
    "operator": with_token(Role.OPERATOR),
    "requester": with_token(Role.REQUESTER),
    "consumer": with_token(Role.CONSUMER),
    "auditor": with_token(Role.AUDITOR),
    "holder": with_certificate(),
    "authority": authoritys_certificate,
    "granted admin": with_certificate("email:admin@example.internal"),
    "granted operator": with_certificate("email:operator@example.internal"),
    "granted requester": with_certificate("email:requester@example.internal"),
    "granted consumer": with_certificate("email:consumer@example.internal"),
    "granted auditor": with_certificate("email:auditor@example.internal"),
    "granted name, other profile": with_certificate("admin.devices.example.internal", profile="device"),
    "local": local,
}
"""Credentials that hold: each gets in where the table says so, and 403 everywhere else."""

ADMINS = {"local", "admin", "granted admin"}
OPERATORS = ADMINS | {"operator", "granted operator"}
READERS = OPERATORS | {"auditor", "granted auditor"}
ISSUERS = OPERATORS | {"requester", "granted requester"}
HOLDERS = {"holder", "authority", "granted name, other profile"}
OWNERS = HOLDERS | {"granted requester", "granted consumer", "granted auditor"}
"""Who holds a certificate of its own: a role that it carries besides takes nothing of that away."""
KNOWN = set(HOLDS)
EVERYBODY = KNOWN | set(REFUSED)


@dataclass(frozen=True)
class Door:
    """A representative request, and who gets what it asks for."""

    route: str
    ask: Callable[[World, Stand], tuple[str, Any]]
    passes: set[str]
    status: int = 200


def at(path: str, body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """The same path and body for everybody."""
    return lambda world, stand: (path, body)


def at_own(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """The caller's own certificate."""
    return lambda world, stand: (f"{API}/certificates/{stand.own}{tail}", body)


def at_others(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """Somebody else's certificate."""
    return lambda world, stand: (f"{API}/certificates/{requested_by(world, 'token:somebody')}{tail}", body)


def _proof_of_own(_world: World, stand: Stand) -> tuple[str, Any]:
    """That the ledger has the issuance of the caller's own certificate."""
    return f"{API}/ledger/proof?serial={stand.own}", None


def _this_month(_world: World, _stand: Stand) -> tuple[str, Any]:
    """The month in which the installation was made: nothing is kept of those before it."""
    return f"{API}/reports/monthly?month={clock.now():%Y-%m}", None


def _to_retire(world: World, stand: Stand) -> tuple[str, Any]:
    plan = Plan("issuing", rig.common_name("Prepared"), KeyType.P256, crl_shards=1)
    row = hierarchy.create_subordinate(world.installation, rig.ADMIN, "sub-ca", plan)
    world.product.publisher.publish_due()
    return f"{API}/authorities/{row.name}/state", {"state": "retired"}


def _held(world: World, stand: Stand) -> tuple[str, Any]:
    serial = requested_by(world, "token:somebody")
    holding.hold(world.installation, rig.ADMIN, serial)
    return f"{API}/certificates/{serial}/release", {}


def _to_revoke(world: World, stand: Stand) -> tuple[str, Any]:
    world.secret(Role.AUDITOR, name=(name := f"victim-{time.monotonic_ns()}"))
    return f"{API}/tokens/{name}", None


def _new_token(world: World, stand: Stand) -> tuple[str, Any]:
    return f"{API}/tokens", {"name": f"new-{time.monotonic_ns()}", "role": "admin"}


def _signed_in(world: World, stand: Stand) -> tuple[str, Any]:
    somebody = Caller("oidc:corp:ada", Role.AUDITOR)
    terms = sessions.Terms(HOUR, HOUR)
    sessions.sign_in(world.installation, somebody, terms, how="oidc", credential="oidc:x")
    return f"{API}/sessions/{quote(somebody.identity, safe='')}", None


def _new_root(world: World, stand: Stand) -> tuple[str, Any]:
    key = KeyType.P256.generate()
    certificate = pem_certificate(self_signed(key, Plan("old", rig.common_name("Old"), KeyType.P256)))
    return f"{API}/authorities/import", {"line": "old", "certificate": certificate, "key": key_pem(key)}


@lru_cache(maxsize=1)
def stocked(world: World) -> None:
    """Somebody who answers for orphans, and a lineage that was renewed and brought to a directory."""
    lifecycle, place = world.product.lifecycle, world.product.state / "brought"
    owners.add(lifecycle, rig.ADMIN, OwnerPlan("everybody", "all@example.internal"))
    _lineage(world, "standing")
    destinations.add(lifecycle, rig.ADMIN, DestinationPlan("brought", "standing", "files", {"directory": str(place)}))
    catch_up(world.product)


def _lineage(world: World, name: str) -> str:
    names = (parse(f"{name}.edge.example.internal"),)
    lineages.create(world.product.lifecycle, rig.ADMIN, LineagePlan(name, names))
    return name


def _fresh(kind: str) -> str:
    return f"{kind}-{time.monotonic_ns()}"


def _fresh_line(kind: str) -> str:
    """A line's name does not end in a number: generations do."""
    return f"{kind}-" + "".join(chr(ord("a") + int(digit)) for digit in str(time.monotonic_ns()))


def new(path: str, body: Callable[[str], Any]) -> Callable[[World, Stand], tuple[str, Any]]:
    """Something with a name that nothing has yet."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        stocked(world)
        return f"{API}{path}", body(_fresh("new"))

    return ask


def of_owner(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """An owner who was just made."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        stocked(world)
        owners.add(world.product.lifecycle, rig.ADMIN, OwnerPlan(name := _fresh("team"), "team@example.internal"))
        return f"{API}/owners/{name}{tail}", body

    return ask


def of_lineage(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """A lineage that was just planned."""
    return lambda world, stand: (f"{API}/lineages/{_lineage(world, _fresh('line'))}{tail}", body)


def of_destination(body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """A destination that was just added: a directory of plain files."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        stocked(world)
        name = _fresh("place")
        settings = {"directory": f"{world.product.state}/{name}", "keep": 2}
        destinations.add(world.product.lifecycle, rig.ADMIN, DestinationPlan(name, "standing", "files", settings))
        return f"{API}/destinations/{name}", body

    return ask


def standing(path: str, body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """What stands in every world."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        stocked(world)
        return f"{API}{path}", body

    return ask


def of_current(tail: str, body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """The current certificate of the lineage that stands in every world."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        stocked(world)
        row = lineages.find(world.installation.store, "standing")
        return f"{API}/tracked/%23{row.current_id}{tail}", body

    return ask


def _place(world: World, stand: Stand) -> tuple[str, Any]:
    """An endpoint that shows something."""
    store, place = world.installation.store, f"tls:{_fresh('host')}:443"
    stocked(world)
    facts = read_certificate(world.holder().issued.certificate)
    store.write(lambda tx: record.saw(tx, place, track(tx, facts, source="scanned"), found_by="test"))
    return f"{API}/endpoints/{quote(place, safe='')}", None


def _dead(world: World, stand: Stand) -> tuple[str, Any]:
    """An address that mail comes back from."""
    world.installation.store.write(lambda tx: mailboxes.bounced(tx, "gone@example.internal", "5.1.1") and None)
    return f"{API}/mailboxes/gone@example.internal/revive", {}


def _reloading(name: str) -> dict[str, Any]:
    settings = {"directory": f"/nonexistent/{name}", "reload": ["/bin/true"]}
    return {"name": name, "lineage": "standing", "settings": settings}


def _claim(world: World, stand: Stand) -> tuple[str, Any]:
    return of_owner("/claims", {"kind": "requester", "pattern": f"token:{_fresh('x')}"})(world, stand)


def of_consumer(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """A consumer that was just added: one that comes and fetches."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        consumers.add(world.product.lifecycle, rig.ADMIN, ConsumerPlan(name := _fresh("consumer")))
        return f"{API}/consumers/{name}{tail}", body

    return ask


def _acknowledging(*identities: str) -> Callable[[World, Stand], tuple[str, Any]]:
    """What a consumer says that reports as Ada's certificate, or as nobody."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        lifecycle = world.product.lifecycle
        for name in [row.name for row in consumers.page(lifecycle, rig.ADMIN)[0]]:
            consumers.remove(lifecycle, rig.ADMIN, name)
        lifecycle_schedule.publish(world.product)
        plan = ConsumerPlan(_fresh("edge"), identities=identities)
        consumers.add(lifecycle, rig.ADMIN, plan)
        with world.installation.store.read() as connection:
            newest = published.head(connection, f"trust:{rig.DOMAIN}")
        assert newest is not None
        said = {"stream": newest.stream, "version": newest.version, "sha256": newest.sha256, "at": clock.timestamp()}
        return f"{API}/consumers/{plan.name}/acknowledgements", said

    return ask


def _elsewhere(name: str) -> dict[str, Any]:
    settings = {"directory": f"/nonexistent/{name}", "reload": ["/bin/true"]}
    return {"name": name, "publisher": "files", "settings": settings}


def _of_newest(world: World, stand: Stand) -> tuple[str, Any]:
    lifecycle_schedule.publish(world.product)
    return f"/publications/trust:{rig.DOMAIN}", None


def _of_file(world: World, stand: Stand) -> tuple[str, Any]:
    lifecycle_schedule.publish(world.product)
    return f"/bundles/{rig.DOMAIN}/bundle.pem", None


def _of_version(world: World, stand: Stand) -> tuple[str, Any]:
    _path, said = _acknowledging()(world, stand)
    return f"/publications/{said['stream']}/{said['version']}", None


def _of_delta(world: World, stand: Stand) -> tuple[str, Any]:
    issued = rig.issue(world.installation)
    revocation.revoke(world.installation, rig.ADMIN, issued.serial, RevocationReason.SUPERSEDED)
    world.product.publish_lists()
    return "/crl/issuing-1.delta.crl", None


def _of_anchors(world: World, stand: Stand) -> tuple[str, Any]:
    foreign.put(world.product.lifecycle, rig.ADMIN, domain := f"{_fresh('partner')}.example", FOREIGN.encode())
    return f"{API}/anchors/{domain}", None


def _publishing(world: World, stand: Stand) -> tuple[str, Any]:
    lifecycle_schedule.publish(world.product)
    return f"{API}/publications", {}


def of_rotation(tail: str = "", **more: str) -> Callable[[World, Stand], tuple[str, Any]]:
    """A rotation that was just started, of a line of its own."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        made = starting.start(world.product.lifecycle, rig.ADMIN, RotationPlan(_line(world), WHY))
        if tail == "/resume":
            steering.pause(world.product.lifecycle, rig.ADMIN, made, WHY)
        return f"{API}/rotations/{made}{tail}", {"reason": WHY, **more} if tail else None

    return ask


def _rotating(world: World, stand: Stand) -> tuple[str, Any]:
    return f"{API}/rotations", {"line": _line(world), "reason": WHY}


def _line(world: World) -> str:
    """A line of CAs that is nothing else's."""
    name = _fresh_line("turn")
    plan = Plan(name, rig.common_name(name), KeyType.P256, crl_shards=1)
    hierarchy.create_subordinate(world.installation, rig.ADMIN, "sub-ca", plan)
    return name


def of_request(tail: str = "", body: Any = None) -> Callable[[World, Stand], tuple[str, Any]]:
    """A CA that was just requested of somebody else."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        plan = Plan(_fresh_line("asked"), rig.common_name(_fresh("Asked")), KeyType.P256, crl_shards=1)
        return f"{API}/authority-requests/{external.request(world.installation, rig.ADMIN, plan).name}{tail}", body

    return ask


WORDS = "the words of the safe"


SAFES: dict[str, str] = {}
"""The files of the keys of roots that go offline, by name: who is refused leaves them for the next."""


def _safe(world: World, *, is_offline: bool) -> str:
    """A root whose key is in a file, and here or not; one of which nothing is asked that waits."""
    busy = {one.authority for one in asking.listing(world.installation) if one.state == "waits"}
    for row in world.installation.authorities.all():
        is_fit = row.name in SAFES and row.name not in busy
        if is_fit and (row.key_label == OFFLINE) is is_offline:
            return row.name
    plan = Plan(_fresh_line("safe"), rig.common_name(_fresh("Safe")), KeyType.P256)
    row = hierarchy.create_root(world.installation, rig.ADMIN, plan)
    pem = leaving.export(world.installation, rig.ADMIN, row.name, Secret(WORDS))
    SAFES[row.name] = pem.decode()
    if is_offline:
        leaving.leave(world.installation, rig.ADMIN, row.name, pem, Secret(WORDS))
    return row.name


def _exporting(world: World, stand: Stand) -> tuple[str, Any]:
    return f"{API}/authorities/{_safe(world, is_offline=False)}/key/export", {"passphrase": WORDS}


def _leaving(world: World, stand: Stand) -> tuple[str, Any]:
    name = _safe(world, is_offline=False)
    return f"{API}/authorities/{name}/key/leave", {"key": SAFES[name], "passphrase": WORDS}


def _returning(world: World, stand: Stand) -> tuple[str, Any]:
    name = _safe(world, is_offline=True)
    return f"{API}/authorities/{name}/key/return", {"key": SAFES[name], "passphrase": WORDS}


def _asking_offline(world: World, stand: Stand) -> tuple[str, Any]:
    return f"{API}/ceremonies", {"authority": _safe(world, is_offline=True)}


def _crossing(world: World, stand: Stand) -> tuple[str, Any]:
    plan = Plan(_fresh_line("crossed"), rig.common_name(_fresh("Crossed")), KeyType.P256)
    name = hierarchy.create_root(world.installation, rig.ADMIN, plan).name
    return f"{API}/authorities/{name}/cross-certificates", {"by": "root-1"}


def of_approval(tail: str = "") -> Callable[[World, Stand], tuple[str, Any]]:
    """Something that somebody else wants to do, where it takes two."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        two = replace(world.installation, approval=ApprovalPolicy(two_persons=True))
        with suppress(Forbidden):
            approval.must(two, Caller("token:stranger", Role.ADMIN), "make a root", _fresh_line("wanted"))
        made = approval.listing(two, rig.ADMIN)[0]
        return f"{API}/approvals/{made.id}{tail}", {} if tail else None

    return ask


def of_ceremony(tail: str = "") -> Callable[[World, Stand], tuple[str, Any]]:
    """Something that was just asked of an offline CA."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        waiting = [one for one in asking.listing(world.installation) if one.state == "waits"]
        made = waiting or [asking.request(world.installation, rig.ADMIN, _safe(world, is_offline=True))]
        return f"{API}/ceremonies/{made[-1].name}{tail}", None

    return ask


def _answered_offline(world: World, stand: Stand) -> tuple[str, Any]:
    path, _body = of_ceremony("/answer")(world, stand)
    asked = asking.find(world.installation, path.split("/")[-2])
    key = read_private_key(SAFES[asked.authority].encode(), Secret(WORDS))
    answer = offline.answer(offline.judge(read_request(asked.document)), key, present=["Ada"], program="certwright")
    return path, {"answer": answer.encode().decode()}


def _requesting(world: World, stand: Stand) -> tuple[str, Any]:
    return f"{API}/authority-requests", {"line": _fresh_line("asked"), "subject": f"CN={_fresh('Asked')}"}


def _answered(world: World, stand: Stand) -> tuple[str, Any]:
    path, _body = of_request("/chain")(world, stand)
    return path, {"certificates": chain_for(external.requests(world.installation)[-1].csr)}


def of_replacement(tail: str = "", **body: str) -> Callable[[World, Stand], tuple[str, Any]]:
    """A replacement that was just begun."""

    def ask(world: World, stand: Stand) -> tuple[str, Any]:
        plan = ReplacementPlan(Selection(profile="server"), WHY)
        made = replacement.begin(world.product.lifecycle, rig.ADMIN, plan)
        return f"{API}/replacements/{made}{tail}", body or None

    return ask


WHY = "because a test says so"
REPLACING = {"selection": {"profile": "server"}, "reason": WHY}
FOREIGN = pem_certificate(self_signed(rig.pooled_key(place=50), Plan("x", rig.common_name("Foreign"), KeyType.P256)))
HASH = "ab" * 32
MESH = (rig.CONFIG / "profiles" / "mesh.toml").read_text()
CARE = {"within": "1h", "reason": "it is in hand"}
_VECTORS = Path(__file__).parent.parent / "vectors"
CAME_BACK = base64.b64encode((_VECTORS / "bounces" / "postfix-failed.eml").read_bytes()).decode()
DOORS = {
    "issue": Door("POST /certificates", at(f"{API}/certificates", wish("localhost", profile="server")), ISSUERS, 201),
    "list": Door("GET /certificates", at(f"{API}/certificates"), READERS | ISSUERS | OWNERS),
    "show own": Door("GET /certificates/{serial}", at_own(), READERS | ISSUERS | OWNERS),
    "show another's": Door("GET /certificates/{serial}", at_others(), READERS),
    "renew own": Door(
        "POST /certificates/{serial}/renew",
        at_own("/renew", {"csr": csr(place=40)}),
        OPERATORS | {"requester"} | OWNERS - {"authority"},
        201,
    ),
    "renew another's": Door(
        "POST /certificates/{serial}/renew", at_others("/renew", {"csr": csr(place=41)}), OPERATORS, 201
    ),
    "revoke own": Door("POST /certificates/{serial}/revoke", at_own("/revoke", {}), ISSUERS | OWNERS - {"authority"}),
    "revoke another's": Door("POST /certificates/{serial}/revoke", at_others("/revoke", {}), OPERATORS),
    "hold own": Door("POST /certificates/{serial}/hold", at_own("/hold", {}), ISSUERS | OWNERS - {"authority"}),
    "hold another's": Door("POST /certificates/{serial}/hold", at_others("/hold", {}), OPERATORS),
    "release another's": Door("POST /certificates/{serial}/release", _held, OPERATORS),
    "revoke by filter": Door(
        "POST /certificates/revocations",
        at(f"{API}/certificates/revocations", {"filter": {"requested_by": "token:nobody"}}),
        OPERATORS,
    ),
    "revoke by key": Door(
        "POST /certificates/revocations", at(f"{API}/certificates/revocations", {"key": HASH}), OPERATORS
    ),
    "list authorities": Door("GET /authorities", at(f"{API}/authorities"), KNOWN),
    "make an authority": Door(
        "POST /authorities", at(f"{API}/authorities", {"line": "new", "subject": "CN=New"}), ADMINS, 201
    ),
    "make a root": Door(
        "POST /authorities", at(f"{API}/authorities", {"line": "top", "subject": "CN=T", "profile": None}), ADMINS, 201
    ),
    "import": Door("POST /authorities/import", _new_root, {"local"}, 201),
    "show an authority": Door("GET /authorities/{name}", at(f"{API}/authorities/issuing"), KNOWN),
    "change a state": Door("POST /authorities/{name}/state", _to_retire, ADMINS),
    "freshness": Door("GET /authorities/{name}/crls", at(f"{API}/authorities/issuing/crls"), KNOWN),
    "check lists": Door(
        "POST /authorities/{name}/crls/check", at(f"{API}/authorities/issuing/crls/check", {}), READERS
    ),
    "list requested authorities": Door("GET /authority-requests", at(f"{API}/authority-requests"), KNOWN),
    "request an authority": Door("POST /authority-requests", _requesting, ADMINS, 201),
    "show a requested authority": Door("GET /authority-requests/{name}", of_request(), KNOWN),
    "accept its chain": Door("POST /authority-requests/{name}/chain", _answered, ADMINS, 201),
    "give it up": Door("DELETE /authority-requests/{name}", of_request(), ADMINS),
    "export a key": Door("POST /authorities/{name}/key/export", _exporting, {"local"}),
    "have a key leave": Door("POST /authorities/{name}/key/leave", _leaving, {"local"}),
    "take a key in": Door("POST /authorities/{name}/key/return", _returning, {"local"}),
    "list ceremonies": Door("GET /ceremonies", at(f"{API}/ceremonies"), KNOWN),
    "ask an offline CA": Door("POST /ceremonies", _asking_offline, ADMINS, 201),
    "show a ceremony": Door("GET /ceremonies/{name}", of_ceremony(), KNOWN),
    "take its answer in": Door("POST /ceremonies/{name}/answer", _answered_offline, ADMINS),
    "list cross-certificates": Door("GET /cross-certificates", at(f"{API}/cross-certificates"), KNOWN),
    "cross-certify": Door("POST /authorities/{name}/cross-certificates", _crossing, ADMINS, 201),
    "list approvals": Door("GET /approvals", at(f"{API}/approvals"), KNOWN),
    "show an approval": Door("GET /approvals/{number}", of_approval(), KNOWN),
    "grant an approval": Door("POST /approvals/{number}/grant", of_approval("/grant"), ADMINS),
    "refuse an approval": Door("POST /approvals/{number}/refuse", of_approval("/refuse"), ADMINS),
    "give a ceremony up": Door("DELETE /ceremonies/{name}", of_ceremony(), ADMINS),
    "list profiles": Door("GET /profiles", at(f"{API}/profiles"), READERS | ISSUERS),
    "show a profile": Door("GET /profiles/{name}", at(f"{API}/profiles/mesh"), READERS | ISSUERS),
    "lint": Door("POST /profiles/{name}/lint", at(f"{API}/profiles/ephemeral/lint"), READERS | ISSUERS),
    "test": Door("POST /profiles/{name}/test", at(f"{API}/profiles/ephemeral/test"), READERS | ISSUERS),
    "compare": Door(
        "POST /profiles/{name}/compare", at(f"{API}/profiles/mesh/compare", {"content": MESH, "last": 1}), READERS
    ),
    "me": Door("GET /me", at(f"{API}/me"), KNOWN),
    "list tokens": Door("GET /tokens", at(f"{API}/tokens"), ADMINS | {"auditor", "granted auditor"}),
    "make a token": Door("POST /tokens", _new_token, ADMINS, 201),
    "list issuers of JWTs": Door(
        "GET /identity/issuers", at(f"{API}/identity/issuers"), ADMINS | {"auditor", "granted auditor"}
    ),
    "explain a JWT": Door(
        "POST /identity/explain",
        at(f"{API}/identity/explain", {"token": "a.b.c"}),
        ADMINS | {"auditor", "granted auditor"},
    ),
    "revoke a token": Door("DELETE /tokens/{identity}", _to_revoke, ADMINS),
    "make a link to sign in with": Door("POST /sign-in-links", at(f"{API}/sign-in-links", {}), KNOWN - HOLDERS, 201),
    "list who is signed in": Door("GET /sessions", at(f"{API}/sessions"), ADMINS | {"auditor", "granted auditor"}),
    "sign somebody out": Door("DELETE /sessions/{identity}", _signed_in, ADMINS),
    "head": Door("GET /ledger/head", at(f"{API}/ledger/head"), READERS),
    "state": Door("GET /ledger/state", at(f"{API}/ledger/state?at=1000"), READERS),
    "entries": Door("GET /ledger/entries", at(f"{API}/ledger/entries"), READERS),
    "verify": Door("POST /ledger/verify", at(f"{API}/ledger/verify", {}), READERS),
    "prove own": Door("GET /ledger/proof", _proof_of_own, READERS | ISSUERS | OWNERS),
    "prove an entry": Door("GET /ledger/proof", at(f"{API}/ledger/proof?position=0"), READERS),
    "consistency": Door("GET /ledger/consistency", at(f"{API}/ledger/consistency?old=1"), KNOWN),
    "doctor": Door("GET /doctor", at(f"{API}/doctor"), ADMINS),
    "list backups": Door("GET /backups", at(f"{API}/backups"), READERS),
    "make a backup": Door("POST /backups", at(f"{API}/backups", {}), ADMINS, 409),
    "block a key": Door("POST /keys/block", at(f"{API}/keys/block", {"key": HASH}), OPERATORS),
    "list owners": Door("GET /owners", at(f"{API}/owners"), READERS),
    "add an owner": Door("POST /owners", new("/owners", lambda n: {"name": n, "email": "a@b.example"}), ADMINS, 201),
    "show an owner": Door("GET /owners/{name}", of_owner(), READERS),
    "change an owner": Door("PATCH /owners/{name}", of_owner("", {"time_zone": "Europe/Paris"}), ADMINS),
    "remove an owner": Door("DELETE /owners/{name}", of_owner(), ADMINS),
    "claim": Door(
        "POST /owners/{name}/claims",
        _claim,
        ADMINS,
        201,
    ),
    "release": Door(
        "POST /owners/{name}/releases", of_owner("/releases", {"kind": "name", "pattern": "dns:a.example"}), ADMINS
    ),
    "search": Door("GET /tracked", at(f"{API}/tracked"), READERS),
    "bring in": Door("POST /tracked", at(f"{API}/tracked", {"items": [{"name": "a", "pem": FOREIGN}]}), OPERATORS),
    "orphans": Door("GET /tracked/orphans", at(f"{API}/tracked/orphans"), READERS),
    "shared keys": Door("GET /tracked/shared-keys", at(f"{API}/tracked/shared-keys"), READERS),
    "differences": Door("GET /tracked/differences", at(f"{API}/tracked/differences"), READERS),
    "story": Door("GET /tracked/{identity}", standing("/tracked/%231"), READERS),
    "assign": Door("PUT /tracked/{identity}/owner", standing("/tracked/%231/owner", {"owner": "everybody"}), OPERATORS),
    "taken care of": Door("GET /acknowledged", at(f"{API}/acknowledged"), READERS),
    "take care": Door("PUT /tracked/{identity}/acknowledgement", of_current("/acknowledgement", CARE), OPERATORS),
    "take care of a lineage": Door(
        "PUT /lineages/{name}/acknowledgement", standing("/lineages/standing/acknowledgement", CARE), OPERATORS
    ),
    "no more care": Door("DELETE /tracked/{identity}/acknowledgement", of_current("/acknowledgement"), OPERATORS),
    "no more care of a lineage": Door(
        "DELETE /lineages/{name}/acknowledgement", standing("/lineages/standing/acknowledgement"), OPERATORS
    ),
    "mailboxes": Door("GET /mailboxes", at(f"{API}/mailboxes"), READERS),
    "revive": Door("POST /mailboxes/{address}/revive", _dead, ADMINS),
    "came back": Door("POST /bounces", at(f"{API}/bounces", {"message": CAME_BACK}), OPERATORS),
    "calendar": Door("POST /owners/{name}/calendar", of_owner("/calendar", {}), ADMINS),
    "scan": Door("POST /scans", at(f"{API}/scans", {"targets": "127.0.0.1:1"}), OPERATORS),
    "scan a directory": Door("POST /scans", at(f"{API}/scans", {"directory": str(rig.CONFIG / "profiles")}), {"local"}),
    "endpoints": Door("GET /endpoints", at(f"{API}/endpoints"), READERS),
    "forget": Door("DELETE /endpoints/{place}", _place, OPERATORS),
    "list lineages": Door("GET /lineages", at(f"{API}/lineages"), READERS),
    "plan a lineage": Door(
        "POST /lineages",
        new("/lineages", lambda n: {"name": n, "names": [f"{n}.edge.example.internal"]}),
        OPERATORS,
        201,
    ),
    "show a lineage": Door("GET /lineages/{name}", of_lineage(), READERS),
    "change a lineage": Door("PATCH /lineages/{name}", of_lineage("", {"key_age": "9d"}), OPERATORS),
    "remove a lineage": Door("DELETE /lineages/{name}", of_lineage(), OPERATORS),
    "renew a lineage": Door("POST /lineages/{name}/renew", of_lineage("/renew", {}), OPERATORS, 202),
    "due work": Door("GET /renewals", at(f"{API}/renewals"), READERS),
    "run": Door("POST /renewals/run", at(f"{API}/renewals/run", {}), OPERATORS),
    "look ahead": Door("GET /renewals/plan", at(f"{API}/renewals/plan"), READERS),
    "report on a month": Door("GET /reports/monthly", _this_month, READERS),
    "preview a letter": Door("GET /reports/preview", at(f"{API}/reports/preview?owner=nobody"), READERS, 404),
    "list destinations": Door("GET /destinations", at(f"{API}/destinations"), READERS),
    "add a directory": Door(
        "POST /destinations",
        new(
            "/destinations",
            lambda n: {"name": n, "lineage": "standing", "settings": {"directory": f"/nonexistent/{n}"}},
        ),
        OPERATORS,
        201,
    ),
    "add one that runs a command": Door("POST /destinations", new("/destinations", _reloading), ADMINS, 201),
    "show a destination": Door("GET /destinations/{name}", of_destination(), READERS),
    "change a destination": Door("PATCH /destinations/{name}", of_destination({"rank": 7}), OPERATORS),
    "have it run a command": Door(
        "PATCH /destinations/{name}",
        of_destination({"settings": {"directory": "/nonexistent/x", "reload": ["/bin/true"]}}),
        ADMINS,
    ),
    "remove a destination": Door("DELETE /destinations/{name}", of_destination(), OPERATORS),
    "deliver": Door("POST /destinations/{name}/deliver", standing("/destinations/brought/deliver", {}), OPERATORS, 202),
    "list issuers": Door("GET /issuers", at(f"{API}/issuers"), READERS),
    "check an issuer": Door("POST /issuers/{name}/check", at(f"{API}/issuers/internal/check", {}), OPERATORS),
    "roll a key": Door("POST /issuers/{name}/roll-key", at(f"{API}/issuers/internal/roll-key", {}), ADMINS, 409),
    "letters": Door("GET /letters", at(f"{API}/letters"), READERS),
    "a letter": Door("GET /letters/{letter}", at(f"{API}/letters/999"), READERS, 404),
    "send letters": Door("POST /letters/run", at(f"{API}/letters/run", {}), OPERATORS),
    "why a letter": Door("GET /letters/explain", at(f"{API}/letters/explain?what=%231"), READERS),
    "alarms": Door("GET /alarms", at(f"{API}/alarms"), READERS),
    "events": Door("GET /events", at(f"{API}/events"), READERS),
    "list consumers": Door("GET /consumers", at(f"{API}/consumers"), READERS),
    "add a consumer": Door("POST /consumers", new("/consumers", lambda n: {"name": n}), OPERATORS, 201),
    "add one that is elsewhere": Door("POST /consumers", new("/consumers", _elsewhere), ADMINS, 201),
    "show a consumer": Door("GET /consumers/{name}", of_consumer(), READERS),
    "change a consumer": Door("PATCH /consumers/{name}", of_consumer("", {"gates": False}), ADMINS),
    "remove a consumer": Door("DELETE /consumers/{name}", of_consumer(), ADMINS),
    "pause a consumer": Door("POST /consumers/{name}/pause", of_consumer("/pause", {}), ADMINS),
    "resume a consumer": Door("POST /consumers/{name}/resume", of_consumer("/resume", {}), ADMINS),
    "spread": Door("POST /consumers/{name}/spread", of_consumer("/spread", {}), ADMINS, 202),
    "give a secret": Door("POST /consumers/{name}/secret", of_consumer("/secret", {}), ADMINS, 201),
    "acknowledge by hand": Door("POST /consumers/{name}/acknowledgements", _acknowledging(), ADMINS),
    "acknowledge as Ada": Door(
        "POST /consumers/{name}/acknowledgements",
        _acknowledging("name:email:ada@example.internal"),
        ADMINS | {"holder"},
    ),
    "latencies": Door("GET /consumers/latencies", at(f"{API}/consumers/latencies"), READERS),
    "streams": Door("GET /streams", at(f"{API}/streams"), READERS),
    "versions": Door("GET /publications", at(f"{API}/publications?stream=x"), READERS),
    "publish": Door("POST /publications", _publishing, ADMINS, 201),
    "list anchors": Door("GET /anchors", at(f"{API}/anchors"), KNOWN),
    "set anchors": Door(
        "PUT /anchors/{trust_domain}", at(f"{API}/anchors/a.example", {"certificates": FOREIGN}), ADMINS
    ),
    "show anchors": Door("GET /anchors/{trust_domain}", _of_anchors, KNOWN),
    "remove anchors": Door("DELETE /anchors/{trust_domain}", _of_anchors, ADMINS),
    "list rotations": Door("GET /rotations", at(f"{API}/rotations"), READERS),
    "plan a rotation": Door(
        "POST /rotations/plan", at(f"{API}/rotations/plan", {"line": "issuing", "reason": WHY}), READERS
    ),
    "rotate": Door("POST /rotations", _rotating, ADMINS, 201),
    "affected": Door("GET /rotations/affected", at(f"{API}/rotations/affected?authority=issuing-1"), READERS),
    "show a rotation": Door("GET /rotations/{rotation}", of_rotation(), READERS),
    "pause a rotation": Door("POST /rotations/{rotation}/pause", of_rotation("/pause"), ADMINS),
    "resume a rotation": Door("POST /rotations/{rotation}/resume", of_rotation("/resume"), ADMINS),
    "hurry a rotation": Door("POST /rotations/{rotation}/hurry", of_rotation("/hurry"), ADMINS),
    "override": Door(
        "POST /rotations/{rotation}/override", of_rotation("/override", gate="prove", subject="all"), ADMINS
    ),
    "abort a rotation": Door("POST /rotations/{rotation}/abort", of_rotation("/abort"), ADMINS),
    "list replacements": Door("GET /replacements", at(f"{API}/replacements"), READERS),
    "plan a replacement": Door("POST /replacements/plan", at(f"{API}/replacements/plan", REPLACING), READERS),
    "replace": Door("POST /replacements", at(f"{API}/replacements", REPLACING), OPERATORS, 201),
    "replace and revoke": Door(
        "POST /replacements", at(f"{API}/replacements", {**REPLACING, "revokes": True}), OPERATORS, 201
    ),
    "drill": Door("POST /replacements/drill", at(f"{API}/replacements/drill", REPLACING), OPERATORS),
    "show a replacement": Door("GET /replacements/{replacement}", of_replacement(), READERS),
    "replaced certificates": Door(
        "GET /replacements/{replacement}/certificates", of_replacement("/certificates"), READERS
    ),
    "report": Door("GET /replacements/{replacement}/report", of_replacement("/report"), READERS),
    "stop a replacement": Door(
        "POST /replacements/{replacement}/stop", of_replacement("/stop", reason="because a test says so"), OPERATORS
    ),
    "metrics": Door("GET /metrics", at("/metrics"), READERS),
    "description": Door("GET /openapi.json", at(f"{API}/openapi.json"), EVERYBODY),
    "CRL": Door("GET /crl/{authority}.crl", at("/crl/root-1.crl"), EVERYBODY),
    "CRL, PEM": Door("GET /crl/{authority}.pem", at("/crl/root-1.pem"), EVERYBODY),
    "shard": Door("GET /crl/{authority}/{shard}.crl", at("/crl/issuing-1/0.crl"), EVERYBODY),
    "CA": Door("GET /ca/{authority}.cer", at("/ca/root-1.cer"), EVERYBODY),
    "CA, PEM": Door("GET /ca/{authority}.pem", at("/ca/root-1.pem"), EVERYBODY),
    "roots": Door("GET /bundles/roots.pem", at("/bundles/roots.pem"), EVERYBODY),
    "newest version": Door("GET /publications/{stream}", _of_newest, EVERYBODY),
    "a version": Door("GET /publications/{stream}/{version}", _of_version, EVERYBODY),
    "a file of a bundle": Door("GET /bundles/{trust_domain}/{file}", _of_file, EVERYBODY),
    "delta": Door("GET /crl/{authority}.delta.crl", _of_delta, EVERYBODY),
    "signed acknowledgement": Door("POST /acknowledgements", at("/acknowledgements", {"consumer": 1}), EVERYBODY, 400),
    "tile": Door("GET /ledger/tile/{level}/{name}", at("/ledger/tile/0/000.p/1"), EVERYBODY),
    "tile of entries": Door("GET /ledger/tile/entries/{name}", at("/ledger/tile/entries/000.p/1"), READERS),
    "checkpoint": Door("GET /ledger/checkpoint", at("/ledger/checkpoint"), EVERYBODY),
    "health": Door("GET /healthz", at("/healthz"), EVERYBODY),
    "ready": Door("GET /readyz", at("/readyz"), EVERYBODY),
    "alive": Door("GET /livez", at("/livez"), EVERYBODY),
}


def test_every_route_is_in_the_table(world: World) -> None:
    """A route that nobody has thought about here fails this test; so does a line for a route that is gone."""
    served = {f"{method} {path.removeprefix(API)}" for method, path in routes(world.app)}
    assert served == {door.route for door in DOORS.values()}
    assert all(door.passes <= EVERYBODY for door in DOORS.values())


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_hold_opens_no_door(world: World, name: str) -> None:
    """A credential that does not hold gets 401 at every door that needs one, and changes nothing."""
    let_in, stand = [], REFUSED[name](world)  # whoever is refused everywhere is the same afterwards
    for label, door in DOORS.items():
        answer, unchanged = knock(world, stand, door)
        if name in door.passes:
            assert answer.status_code == door.status, label
        elif answer.status_code != 401 or not unchanged:
            let_in.append((label, answer.status_code))
        else:
            problem(answer, 401, answer.json()["code"])
    assert let_in == []


@pytest.mark.parametrize("name", HOLDS)
def test_what_holds_opens_its_doors_alone(world: World, name: str) -> None:
    """A credential that holds gets what the table says, and 403 for everything else, which changes nothing."""
    wrong, stand = [], None
    for label, door in DOORS.items():
        stand = stand or HOLDS[name](world)
        answer, unchanged = knock(world, stand, door)
        expected = door.status if name in door.passes else 403
        if name in door.passes and not door.route.startswith("GET "):
            stand = None  # it may have given away what it stood on
        if answer.status_code != expected or (expected >= 400 and not unchanged):
            wrong.append((label, expected, answer.status_code, answer.text[:200]))
        elif expected >= 400:
            problem(answer, expected, answer.json()["code"])
    assert wrong == []


def knock(world: World, stand: Stand, door: Door) -> tuple[httpx.Response, bool]:
    """Ask at a door; returns the answer, and whether the store is as it was."""
    path, body = door.ask(world, stand)
    before = world.counts()
    with clock.pinned(clock.now() + stand.later):
        answer = world.as_(stand.credential).request(door.route.split()[0], path, json=body)
    return answer, world.counts() == before


def test_the_matrix_is_awake(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a role let in where the table does not say so, the matrix would report that very door."""
    table = dict(access._TABLE)
    table[Role.CONSUMER] |= {Operation.READ_TOKENS}
    monkeypatch.setattr(access, "_TABLE", table)
    with pytest.raises(AssertionError, match="'list tokens', 403, 200"):
        test_what_holds_opens_its_doors_alone(world, "consumer")


def refused_by_tls(server: Server, certificate: Path, key: Path) -> bool:
    """Whether a connection with this certificate gets no answer at all."""
    try:
        with server.over_tls(holder=(certificate, key)) as client:
            client.get(f"{API}/me")
    except httpx.TransportError:
        return True
    return False


def test_a_strangers_certificate_fails_the_handshake(server: Server, tmp_path: Path) -> None:
    """A CA with our CA's very name signs a client with a name that has a role: TLS itself refuses it."""
    with server.over_plain() as client:
        ours = x509.load_der_x509_certificate(client.get("/ca/issuing-1.cer").content)
    key, holder = rig.pooled_key(place=31), server.holder(tmp_path / "ada")
    original = x509.load_pem_x509_certificate(holder[0].read_bytes())
    builder = x509.CertificateBuilder(ours.subject, original.subject, original.public_key(), original.serial_number)
    builder = builder.not_valid_before(original.not_valid_before_utc).not_valid_after(original.not_valid_after_utc)
    for extension in original.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    forged_pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()  # type: ignore[arg-type]
    chain = self_signed(key, Plan("issuing", ours.subject, KeyType.P256))
    assert not refused_by_tls(server, *holder)
    for number, text in enumerate((forged_pem, forged_pem + pem_certificate(chain))):
        assert refused_by_tls(server, *write_pair(tmp_path / str(number), text, rig.pooled_key(place=1)))


def test_a_servers_certificate_is_no_clients(server: Server, tmp_path: Path) -> None:
    """A certificate of ours without clientAuth is no credential, whether TLS says so or we do (row 41)."""
    holder = server.holder(tmp_path / "web", "localhost", profile="server")
    assert refused_by_tls(server, *holder)


def test_a_revoked_client_is_out_within_a_second(server: Server, tmp_path: Path) -> None:
    """On the connection that stands and on new ones, one second after the revocation was answered at the latest."""
    holder = server.holder(tmp_path / "ada")
    serial = f"{x509.load_pem_x509_certificate(holder[0].read_bytes()).serial_number:x}"
    with server.over_tls(holder=holder) as client, server.over_socket() as admin:
        assert client.get(f"{API}/me").json()["identity"] == f"certificate:{serial}"
        admin.post(f"{API}/certificates/{serial}/revoke", json={"reason": "superseded"}).raise_for_status()
        revoked_at = asked_at = time.monotonic()
        answer = client.get(f"{API}/me")
        while answer.status_code != 401 and asked_at - revoked_at < 1:  # what is asked a second later is refused
            asked_at = time.monotonic()
            answer = client.get(f"{API}/me")
        problem(answer, 401, "certificate-not-valid")
    with server.over_tls(holder=holder) as client:
        problem(client.get(f"{API}/me"), 401, "certificate-not-valid")


@pytest.mark.parametrize("header", ["X-Client-Cert", "X-Forwarded-Client-Cert", "X-Tls-Client-Cert", "Client-Cert"])
def test_a_header_is_no_handshake(server: Server, tmp_path: Path, header: str) -> None:
    """Over real TLS a header with a certificate in it means nothing, with and without a certificate of one's own."""
    claimed = quote(server.holder(tmp_path / "claimed", "email:boss@example.internal", place=2)[0].read_text())
    with server.over_tls() as client:
        problem(client.get(f"{API}/me", headers={header: claimed}), 401, "unauthenticated")
    with server.over_tls(holder=server.holder(tmp_path / "ada")) as client:
        me = client.get(f"{API}/me").raise_for_status().json()["identity"]
        assert client.get(f"{API}/me", headers={header: claimed}).json()["identity"] == me


def test_a_token_works_over_tls(server: Server) -> None:
    """The first admin's token opens the API, and with a letter less it does not."""
    with server.over_tls(server.token) as client:
        assert client.get(f"{API}/me").json()["identity"] == "token:first-admin"
    with server.over_tls(server.token[:-1]) as client:
        problem(client.get(f"{API}/me"), 401, "unauthenticated")
