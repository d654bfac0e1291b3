"""Where the campaign of requests takes place: a fresh installation, the whole application, and callers of every kind.

The installation is a real one, with the shipped profiles, key files and SQLite in a temporary directory; only its
passphrase is cheap and its rate limits are out of the way. Nothing here judges; see `api_judge` and `api_store`.
"""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from ca import sessions
from ca.access import Caller as Somebody
from ca.access import Role
from ca.backup.sealing import recipient_text
from ca.keys import pkcs8, sealed
from ca.x509.bundle import pem_certificate
from pki.catching_up import catch_up
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.web.app import create_app
from pki.web.identity import CERTIFICATE, LOCAL
from renewers.answering import mailboxes
from renewers.discovery import record
from renewers.inventory import owners
from renewers.inventory.facts import read_certificate
from renewers.inventory.track import track
from renewers.mailing import letters
from tests import rig
from tests.fuzz.api_answering import DEAD, VISITORS
from tests.fuzz.api_holding import LINE, PARTNER, READER
from tests.fuzz.api_living import PLACE, STANDING
from tests.fuzz.api_outside import shut_off, with_another_issuer
from tests.fuzz.api_wire import Answer, Ask, exchange
from tests.renewers.listeners import make

API = "/api/v1"
TERMS = sessions.Terms(timedelta(hours=12), timedelta(hours=12))
GRANT = '[{profile = "client", name = "email:operator@example.internal", role = "operator"}]'
PLAN = InitPlan(
    name="Fuzzed",
    changes={
        "installation.domain": f'"{rig.DOMAIN}"',
        "installation.public_url": f'"{rig.PUBLIC_URL}"',
        "crl.shards": "2",
        "limits.per_second": "1000000.0",
        "limits.burst": "1000000",
        "limits.anonymous_per_second": "1000000.0",
        "limits.anonymous_burst": "1000000",
        "identity.certificates": GRANT,
        "backup.to": '"backups"',
        "backup.recipient": f'"{recipient_text(X25519PrivateKey.generate().public_key())}"',
    },
)


@dataclass(frozen=True)
class Caller:
    """A credential and what it is worth: `role` is None where it does not hold."""

    name: str
    role: Role | None
    identity: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    known: Mapping[str, Any] = field(default_factory=dict)
    asks_for: tuple[str, ...] = ()
    """Profiles that it would ask for with a chance of getting something."""


REQUESTS: dict[str, dict[str, Any]] = {
    "admin": {"role": "admin"},
    "operator": {"role": "operator"},
    "requester": {
        "role": "requester",
        "profiles": ["mesh", "server", "ephemeral", "device"],
        "attributes": {"namespace": "payments", "fleet": "scooters"},
    },
    "narrow": {"role": "requester", "profiles": ["client"], "attributes": {"user": "ada"}},
    "auditor": {"role": "auditor"},
    "consumer": {"role": "consumer"},
    "revoked": {"role": "admin"},
}
"""The tokens that callers have."""
HELD = {
    "holder": ("mesh", rig.WORKLOAD, "dns:api.payments.svc.example.internal"),
    "granted": ("client", "email:operator@example.internal"),
    "server": ("server", "dns:web.example.internal"),
}
"""The certificates that callers have: of a workload, of a person with a role, and of a server, who is no client."""
FILES = "files"
"""The directory beside the state that may be walked."""
LEAVES = ("mesh", "server", "client", "device", "edge", "ephemeral")


class World:
    """The application and its callers. `seen` is what was logged about errors since somebody looked."""

    def __init__(self, product: Product, seen: list[str]) -> None:
        self.product = product
        self.app = create_app(product)
        self.seen = seen
        self.files = product.state.parent / FILES
        self.callers: dict[str, Caller] = {}
        self.secrets: set[str] = {(product.state / product.settings.keys.passphrase_file).read_text().strip()}
        self.shared = ""
        """What the consumer that stands from the beginning signs with."""
        self.by_hand = 0
        """How many certificates were issued to make callers."""

    async def exchange(self, ask: Ask) -> Answer:
        """Ask as the caller that the request names."""
        caller = self.callers[ask.caller]
        return await exchange(self.app, ask, caller.headers, caller.known)

    async def populate(self) -> None:
        """Make all callers."""
        self.callers["local"] = Caller("local", Role.ADMIN, "local:uid=0", known={LOCAL: 0}, asks_for=LEAVES)
        self.callers["nobody"] = Caller("nobody", None)
        self.callers["basic"] = Caller("basic", None, headers={b"authorization": b"Basic YWRtaW46YWRtaW4="})
        self.callers["garbage"] = Caller("garbage", None, headers={b"authorization": b"Bearer cw_0123456789ab_\xff"})
        for name, wanted in REQUESTS.items():
            token = await self.by_local(f"{API}/tokens", {"name": name, **wanted})
            self.adopt(name, token)
        self.callers["revoked"] = replace(self.callers["revoked"], role=None)
        await self.by_local(f"{API}/tokens/revoked", None, method="DELETE")
        secret = self.callers["admin"].headers[b"authorization"]
        self.callers["wrong secret"] = Caller("wrong secret", None, headers={b"authorization": secret[:-8] + b"A" * 8})
        for name in HELD:
            await self.give_certificate(name)
        await self._stock()

    async def _stock(self) -> None:
        """Let there be something in the inventory that the campaign never takes away."""
        owner = {"name": STANDING["owners"], "email": "all@example.internal"}
        lineage = {"name": STANDING["lineages"], "names": ["standing.edge.example.internal"]}
        settings = {"directory": "/nonexistent/standing"}
        destination = {"name": STANDING["destinations"], "lineage": STANDING["lineages"], "settings": settings}
        (self.files / "deep").mkdir(parents=True)
        (self.files / "deep/good.pem").write_text(pem_certificate(make("found.example").der))
        (self.files / "broken.crt").write_bytes(b"0\x82\x01")
        for path, body in (("owners", owner), ("lineages", lineage), ("destinations", destination)):
            await self.by_local(f"{API}/{path}", body)
        await self._let_hold()
        catch_up(self.product)
        for identity in VISITORS:  # whoever is signed out everywhere is so once
            somebody = Somebody(identity, Role.AUDITOR)
            sessions.sign_in(self.product.installation, somebody, TERMS, how="oidc", credential="oidc:corp")
        self._write_letter()
        self.product.installation.store.write(lambda tx: mailboxes.bounced(tx, DEAD, "5.1.1") and None)
        facts = read_certificate(make("standing.example").der)
        self.product.installation.store.write(
            lambda tx: record.saw(tx, PLACE, track(tx, facts, source="scanned"), found_by="test")
        )

    def _write_letter(self) -> None:
        """Let there be a letter that nobody has sent yet."""
        lifecycle = self.product.lifecycle
        everybody = owners.show(lifecycle, rig.ADMIN, STANDING["owners"])
        about: dict[str, Any] = {
            "kind": letters.DIGEST,
            "recipient": everybody.email,
            "step": 0,
            "reason": "a test",
            "key": "a test",
        }
        lifecycle.store.write(lambda tx: letters.open_letter(tx, owner=everybody, crossings=(), **about))

    async def _let_hold(self) -> None:
        """Let there be a consumer, anchors of somebody else, and a line of CAs that may be rotated."""
        reader = {"name": READER, "identities": ["token:consumer"], "makes_secret": True}
        self.shared = (await self.by_local(f"{API}/consumers", reader))["secret"]
        self.secrets.add(self.shared)
        anchors = {"certificates": pem_certificate(make("Partner", is_ca=True).der)}
        await self.by_local(f"{API}/anchors/{PARTNER}", anchors, method="PUT")
        await self.by_local(f"{API}/authorities", {"line": LINE, "subject": "CN=Turning CA"})

    def adopt(self, name: str, token: Mapping[str, Any]) -> None:
        """Make a caller of a token that was just answered."""
        self.secrets.add(token["token"])
        asks_for = LEAVES if token["profiles"] is None else tuple(token["profiles"])
        self.callers[name] = Caller(
            name,
            Role(token["role"]),
            f"token:{token['name']}",
            headers={b"authorization": f"Bearer {token['token']}".encode()},
            asks_for=asks_for,
        )

    async def give_certificate(self, name: str) -> str:
        """Make a caller who holds a new certificate; a campaign revokes them again and again. Returns its serial."""
        profile, *names = HELD[name]
        self.by_hand += 1
        body = {"profile": profile, "csr": pem_request(rig.make_csr(key=rig.pooled_key(place=90))), "names": names}
        issued = await self.by_local(f"{API}/certificates", body)
        der = x509.load_pem_x509_certificate(issued["certificate"].encode()).public_bytes(Encoding.DER)
        role = {"holder": Role.HOLDER, "granted": Role.OPERATOR, "server": None}[name]
        asks_for = LEAVES if role is Role.OPERATOR else (profile,)
        self.callers[name] = Caller(
            name, role, f"certificate:{issued['serial']}", known={CERTIFICATE: der}, asks_for=asks_for
        )
        return str(issued["serial"])

    async def by_local(self, path: str, body: Any, method: str = "POST") -> Any:
        """Ask as the owner of the machine for something that has to work."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = ((b"content-type", b"application/json"),)
        answer = await self.exchange(Ask("", "local", "by hand", method, path, headers=headers, body=content))
        if not 200 <= answer.status < 300:
            raise AssertionError(
                f"{method} {path} is answered with {answer.status}: {answer.body!r}, {answer.raised!r}"
            )
        return json.loads(answer.body)


def pem_request(der: bytes) -> str:
    """A request, well-formed or not, as PEM."""
    return pem_certificate(der).replace("CERTIFICATE", "CERTIFICATE REQUEST")


@contextmanager
def open_world(store_url: str = "") -> Iterator[World]:
    """A new installation, open, in a directory that goes away; settings of whoever runs this do not count.

    Its store is SQLite beside the keys, or the empty database that `store_url` names.
    """
    plan = replace(PLAN, changes={**PLAN.changes, "store.url": json.dumps(store_url)})
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CERTWRIGHT_")}
    seen: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="certwright-fuzz-") as directory,
        mock.patch.dict(os.environ, clean, clear=True),
        mock.patch.object(pkcs8, "SCRYPT_N", 1 << 4),
        mock.patch.object(sealed, "SCRYPT_N", 1 << 4),
        shut_off(Path(directory) / FILES),
        _listening(seen),
    ):
        state = Path(directory) / "state"
        initialise(state, plan)
        with Product.open(state) as product:
            with_another_issuer(product)
            yield World(product, seen)


@contextmanager
def _listening(seen: list[str]) -> Iterator[None]:
    """What is logged about failures is kept for whoever reports them; nothing is written."""

    def keep(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        error = event.get("exc_info")
        if level in ("error", "critical") and len(seen) < 100:
            told = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
            seen.append(f"{event.get('event')}: {event.get('code')}: {event.get('reason')}\n{told}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep])
    try:
        yield
    finally:
        structlog.configure(**before)
