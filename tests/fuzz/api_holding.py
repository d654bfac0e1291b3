"""Values about consumers, publications, anchors and rotations that mean something; as `api_living`.

Some stand from the beginning: a consumer that the caller `consumer` may speak for, anchors of a partner, and a line of
CAs that nothing else in the campaign needs, which is rotated and turned back again and again.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ca import clock
from ca.x509.bundle import pem_certificate
from pki.product import Product
from renewers.distribution import published
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, signature_of
from tests import rig
from tests.fuzz import api_words as words
from tests.fuzz.api_living import ODD_NAMES, ODD_SETTINGS, ODD_TARGETS, Choosing
from tests.renewers.listeners import make

READER, PARTNER, LINE = "reader", "partner.example", "turning"
STREAMS = (f"trust:{rig.DOMAIN}", f"crl:{rig.DOMAIN}")
NOUNS = frozenset(
    {"consumers", "streams", "publications", "anchors", "rotations", "replacements", "bundles", "acknowledgements"}
)
WHY = "because the campaign says so"
ODD_STREAMS = ("trust:none", "crl:", ":", "%00", "trust:../x", "\u202e", "x" * 300, "trust:example.internal\n", "1")
ODD_DOMAINS = (rig.DOMAIN, "Partner.Example", "a..b", "-", "x" * 300, "é.example", "\x00", "partner.example/x")
ODD_VERSIONS = ("0", "1", "-1", "9" * 30, str(1 << 63), "1.5", "x", "+1", "١")
ODD_FILES = ("none.pem", "..", "bundle.pem/x", "BUNDLE.PEM", "trust.jws", "\x00", "root-1.cer.pem", "%2e%2e")
ODD_NEEDS: tuple[dict[str, Any], ...] = (
    *({"bundle": []}, {"bundle": ["docx"]}, {"bundle": ["pem", "pem"]}, {"crl": "some"}, {"crl_formats": ["x"]}),
    *({"trust_domains": []}, {"trust_domains": ["a b"]}, {"trust_domains": ["none.example"]}, {"crl": ""}),
)
ODD_IDENTITIES = (["me"], ["local:uid=0"], ["token:"], ["name:dns:*.x.example"], ["name:uri:spiffe://"], ["\x00"], [""])
ODD_REASONS = ("", "short", " " * 40, "\u202e" * 12, "x" * 500)


class Holding(Protocol):
    """The world, as far as it is about consumers."""

    product: Product
    secrets: set[str]
    shared: str


class Consumers:
    """What a campaign knows of consumers and of what they hold."""

    def __init__(self, world: Holding, chance: random.Random, one: Choosing) -> None:
        self._product = world.product
        self._chance = chance
        self._one = one
        self._secrets = world.secrets
        self._secret = world.shared
        self._partner = pem_certificate(make("Partner", is_ca=True).der)
        self._leaf = pem_certificate(make("leaf.example").der)
        self._made: list[str] = []
        self._rotations: list[int] = []
        self._replacements: list[int] = []
        self._domains: list[str] = []

    def place(self, name: str, noun: str, method: str) -> str:
        """A value for a place in a path."""
        match name:
            case "name":
                own = self._made[-4:]
                return str(self._one(own if method == "DELETE" else [READER, *own], ODD_NAMES))
            case "stream":
                return str(self._one(STREAMS, ODD_STREAMS))
            case "version":
                return str(self._one([self._head(STREAMS[0])[0]], ODD_VERSIONS))
            case "file":
                return str(self._one(["bundle.pem", "cas.pem", "spiffe.json", "root-1.cer", "bundle.p7b"], ODD_FILES))
            case "replacement":
                return str(self._one(self._replacements[-1:] or [1], ODD_VERSIONS[:5]))
            case "rotation":
                return str(self._one(self._rotations[-1:] or [1], ODD_VERSIONS[:5]))
            case "trust_domain" if noun == "bundles":
                return str(self._one([rig.DOMAIN, PARTNER], ODD_DOMAINS))
        if method == "PUT":
            return str(self._one([f"partner-{self._chance.randrange(10**9)}.example"], (PARTNER, *ODD_DOMAINS)))
        return str(self._one(self._domains[-3:] if method == "DELETE" else [PARTNER], ODD_DOMAINS))

    def query(self, operation: str) -> dict[str, Any]:
        """What is asked for besides."""
        found: dict[str, Any] = {}
        if operation == "GET /publications":
            found["stream"] = self._one(STREAMS, ODD_STREAMS)
        elif operation == "GET /rotations/affected":
            found["authority"] = self._one(["issuing-1"], ODD_NAMES)
        elif operation == "GET /publications/{stream}" and self._chance.random() < 0.5:
            found = {"after": self._chance.choice((0, 1, 1 << 40)), "wait": self._chance.choice((0, 0.01))}
        if operation in ("GET /publications", "GET /consumers", "GET /rotations") and self._chance.random() < 0.3:
            found["limit"] = self._chance.choice((1, 2, 500))
        return found

    def body(self, operation: str) -> dict[str, Any] | None:
        """A body for an operation; None for another's."""
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "POST /consumers": self._consumer,
            "PATCH /consumers/{name}": self._change,
            "POST /consumers/{name}/acknowledgements": self._report,
            "POST /acknowledgements": lambda: {"consumer": self._one([READER], ODD_NAMES), **self._report()},
            "PUT /anchors/{trust_domain}": lambda: {"certificates": self._one([self._partner], (self._leaf, "", "x"))},
            "POST /rotations": self._rotation,
            "POST /rotations/plan": self._rotation,
            "POST /replacements": self._replacement,
            "POST /replacements/plan": self._replacement,
            "POST /replacements/drill": lambda: {**self._replacement(), "count": self._one((1, 2), (0, -1, 1 << 20))},
            "POST /replacements/{replacement}/stop": lambda: {"reason": self._one([WHY], ODD_REASONS)},
        }
        if operation in makers:
            return makers[operation]()
        if operation.startswith("POST /rotations/"):
            gate = {"gate": self._one(["prove"], ("none", "activate", "")), "subject": self._one(["all"], ODD_NAMES)}
            reason = {"reason": self._one([WHY], ODD_REASONS)}
            return {**gate, **reason} if operation.endswith("/override") else reason
        return {} if operation.split("/")[1] in NOUNS else None

    def signed(self, content: bytes) -> Mapping[str, str]:
        """The headers of a report that the reader has signed, or somebody else."""
        secret = self._one([self._secret], ["whsec_" + "QUFB" * 8])
        at = clock.timestamp()
        return {ID: "m", TIMESTAMP: str(at), SIGNATURE: signature_of(secret, "m", at, content)} if secret else {}

    def hear(self, operation: str, content: Any, path: str = "") -> None:
        """Remember what was made."""
        if operation in ("POST /consumers", "POST /consumers/{name}/secret") and content.get("secret"):
            self._secrets.add(content["secret"])
        if operation == "POST /consumers/{name}/secret" and f"/{READER}/" in path:
            self._secret = content["secret"]
        elif operation == "POST /consumers" and "name" in content:
            self._made.append(content["name"])
        elif operation == "DELETE /consumers/{name}" and content.get("removed") in self._made:
            self._made.remove(content["removed"])
        elif operation == "POST /rotations" and "id" in content:
            self._rotations.append(content["id"])
        elif operation == "POST /replacements" and "id" in content:
            self._replacements.append(content["id"])
        elif operation == "PUT /anchors/{trust_domain}" and content.get("items"):
            domain = content["items"][0]["trust_domain"]
            self._domains += [domain] if domain != PARTNER else []
        elif operation == "DELETE /anchors/{trust_domain}" and content.get("removed") in self._domains:
            self._domains.remove(content["removed"])

    def _head(self, stream: str) -> tuple[int, str]:
        with self._product.installation.store.read() as connection:
            found = published.head(connection, stream)
        return (1, "0" * 64) if found is None else (found.version, found.sha256)

    def _consumer(self) -> dict[str, Any]:
        number = self._chance.randrange(10**9)
        body: dict[str, Any] = {"name": self._one([f"edge-{number}"], (READER, "Edge", *ODD_NAMES))}
        if self._chance.random() < 0.5:
            body["needs"] = self._one([{}, {"crl": "none"}, {"bundle": ["jwks", "der"], "crl": "delta"}], ODD_NEEDS)
        if self._chance.random() < 0.3:
            place = {"directory": f"/nonexistent/{number}"}
            body |= {"publisher": "files", "settings": self._one([place, {**place, "keep": 3}], ODD_SETTINGS)}
        if self._chance.random() < 0.3:
            body |= {"identities": self._one([[f"token:t{number}"], []], ODD_IDENTITIES), "makes_secret": True}
        if self._chance.random() < 0.2:
            body["probe"] = self._one(["https:edge.example.internal:443", ""], ODD_TARGETS)
        return body

    def _change(self) -> dict[str, Any]:
        good = [{"kind": "host"}, {"fresh_within": "2h"}, {"owner": None}, {"needs": {"crl": "shards"}}, {}]
        odd = [{"kind": "x"}, {"fresh_within": "1s"}, {"owner": "none"}, {"publisher": "none"}, {"name": "x"}]
        changed: dict[str, Any] = self._one(good, [*odd, *({"needs": needs} for needs in ODD_NEEDS)])
        return changed

    def _report(self) -> dict[str, Any]:
        stream = self._one(STREAMS, ODD_STREAMS)
        version, sha256 = self._head(stream)
        said = {"stream": stream, "version": self._one([version], (0, 1, -1, 1 << 60, True)), "at": clock.timestamp()}
        return {**said, "sha256": self._one([sha256], ("ab" * 32, "", "AB" * 32))}

    def _rotation(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "line": self._one([LINE], ("none", "", *ODD_NAMES)),
            "reason": self._one([WHY], ODD_REASONS),
        }
        if self._chance.random() < 0.3:
            body["key_type"] = self._one(("P-256", "P-384"), words.ODD_KEY_TYPES)
        if self._chance.random() < 0.3:
            body["patience"] = self._one(("1h", "7d"), words.ODD_LIFETIMES)
        if self._chance.random() < 0.2:
            body |= {"consumers": self._one((1.0, 0.5), (0, 2, -1)), "leaves_left": self._one((0, 9), (-1, 1 << 70))}
        return body

    def _replacement(self) -> dict[str, Any]:
        good = [{"lineages": ["standing"]}, {"profile": "edge"}, {"host": "standing.edge.example.internal"}]
        odd = [
            {},
            {"lineages": ["none"]},
            {"host": "a b"},
            {"key_type": "x"},
            {"serials": ["0"]},
            {"spki_sha256": ["x"]},
        ]
        body: dict[str, Any] = {"selection": self._one(good, odd), "reason": self._one([WHY], ODD_REASONS)}
        if self._chance.random() < 0.2:
            body |= {"deadline": self._one(("7d",), words.ODD_LIFETIMES), "revokes": True}
        if self._chance.random() < 0.2:
            body["revocation_reason"] = self._one(words.REASONS[:2], words.ODD_REASONS)
        return body


def encoded(body: Any) -> bytes:
    """A body as `api_cases` writes it: what is signed is what is sent."""
    return json.dumps(body, default=str).encode()
