"""Values that mean something to a living installation, so that a campaign gets past the first check.

`Living` remembers what the application has answered: certificates, tokens, authorities, cursors. Of what it offers
some is right, some is right for somebody else, and some is hostile. Three things it never asks for with the right to
get them, since the rest of the campaign needs them: another state for the hierarchy it runs on, the end of the tokens
of its callers, and that a key is blocked that others still use.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import clock
from ca.access import Operation, allowed
from ca.founding import Plan, self_signed
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.x509.bundle import pem_certificate
from tests import rig
from tests.fuzz import api_words as words
from tests.fuzz.api_cases import Case
from tests.fuzz.api_ceremonies import Ceremonies
from tests.fuzz.api_holding import NOUNS as HELD
from tests.fuzz.api_holding import Consumers, encoded
from tests.fuzz.api_living import NOUNS, Inventory
from tests.fuzz.api_wire import Answer, Ask
from tests.fuzz.api_words import FITTING, HOSTILE_NAMES
from tests.fuzz.api_world import API, Caller, World, pem_request
from tests.fuzz.damage import Mutator, make_seeds
from tests.pki.test_authority_requests import chain_for

MOST_KEPT = 400
SHARED_KEYS = (KeyType.P256,) * 4 + (KeyType.P384, KeyType.ED25519, KeyType.RSA2048, KeyType.MLDSA65)


@dataclass(frozen=True)
class Known:
    """A certificate that was answered: whose it is, and the hash of its key if nothing else has that key."""

    serial: str
    identity: str
    key: str | None


class Living:
    """What a campaign knows about the installation, and the values that it takes from there."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._mutator = Mutator(make_seeds(), chance)
        self._keys = [rig.pooled_key(kind, place) for place, kind in enumerate(SHARED_KEYS)]
        self._own_key: str | None = None
        self._target: Known | None = None
        self._boldness = 0.0
        self._adopted = 0
        self.inventory = Inventory(chance, self._one, str(world.files))
        self.consumers = Consumers(world, chance, self._one)
        self.ceremonies = Ceremonies(world.product, chance, self._one)
        self.certificates: list[Known] = []
        self.held: list[str] = []
        self.tokens: list[str] = []
        self.authorities: list[str] = []
        self.requested: dict[str, str] = {}
        self._asked_for = ""
        self.cursors: list[str] = []
        self.checkpoints: list[str] = []

    def dress(self, case: Case, caller: Caller, *, is_bold: bool = True) -> Case:
        """A case with living values in it; nothing in it is odd unless it is bold."""
        self._boldness = self._chance.choice((0.01, 0.01, 0.05, 0.2, 0.6)) if is_bold else 0.0
        self._own_key = self._target = None
        method, _, path = case.operation.partition(" ")
        noun = path.removeprefix(API).split("/")[1]
        is_inventory, is_held, operation = noun in NOUNS, noun in HELD, f"{method} {path.removeprefix(API)}"
        places = {}
        for name in case.path:
            if noun in ("ceremonies", "approvals") or "/key/" in path or path.endswith("/cross-certificates"):
                found = self.ceremonies.place(operation)
            elif is_held:
                found = self.consumers.place(name, noun, method)
            else:
                found = self.inventory.place(noun, method) if is_inventory else self._place(noun, name, caller, path)
            places[name] = quote(found, safe="")
        query, headers = case.query, dict(case.headers)
        if is_held:
            query = {**(query if self._is_odd() else {}), **self.consumers.query(operation)}
        if path in (f"{API}/certificates", f"{API}/ledger/entries"):
            query = {**(query if self._is_odd() else {}), **self._query(caller)}
        elif noun == "ledger":
            query = {**(query if self._is_odd() else {}), **self._proved(operation)}
        elif is_inventory and not path.endswith("/plan"):
            query = {**(query if self._is_odd() else {}), **self.inventory.query(noun, method)}
        if is_bold and self._chance.random() < 0.12:
            headers["idempotency-key"] = self._chance.choice(words.IDEMPOTENCY_KEYS)
        has_body = case.has_body or operation == "POST /acknowledgements"
        body = self._body(operation, case, caller) if has_body else case.body
        headers = headers if is_bold else {}
        if operation == "POST /acknowledgements":
            headers |= self.consumers.signed(encoded(body))
        return replace(case, path=places, query=query, headers=headers, body=body, has_body=has_body)

    def _is_odd(self) -> bool:
        return self._chance.random() < self._boldness

    def _one(self, good: Sequence[Any], odd: Sequence[Any]) -> Any:
        """Something good, or as often as this case is bold something odd."""
        return self._chance.choice(odd if self._is_odd() or not good else good)

    def stories(self) -> Iterator[Ask]:
        """What chance comes to too seldom for a short run: a repeat, a responder, a path that ends in a newline."""
        issue = Case(f"POST {API}/certificates", headers={"idempotency-key": "story"}, has_body=True)
        body = {"profile": "server", "csr": pem_request(rig.make_csr(key=self._keys[0])), "names": ["localhost"]}
        yield from [replace(issue, body=body).ask("requester", "living")] * 2
        responder = {**body, "profile": "ocsp-signer", "names": [], "subject": words.SUBJECTS[0]}
        yield replace(issue, headers={}, body=responder).ask("admin", "living")
        yield replace(Case("GET /healthz").ask("nobody", "damaged"), path="/healthz%0a")

    def hear(self, ask: Ask, answer: Answer) -> None:
        """Remember what was answered."""
        caller = self._world.callers[ask.caller]
        if answer.status not in (200, 201) or not answer.headers.get("content-type", "").startswith("application/json"):
            return
        content = json.loads(answer.body)
        self.inventory.hear(ask.operation.replace(API, ""), content)
        self.consumers.hear(ask.operation.replace(API, ""), content, ask.path)
        match ask.operation.replace(API, ""):
            case "POST /certificates" | "POST /certificates/{serial}/renew" if "certificate" in content:
                self.certificates.append(Known(content["serial"], caller.identity, self._own_key))
                del self.certificates[:-MOST_KEPT]
            case "POST /certificates/{serial}/hold" if "serial" in content:
                self.held = [*self.held[-20:], content["serial"]]
            case "POST /tokens" if "token" in content:
                self._adopt(ask, content)
            case "DELETE /tokens/{identity}" if "expires_at" in content:
                self._disown(content["name"])
            case "POST /authorities" | "POST /authorities/import" if "generation" in content:
                self.authorities.append(content["name"])
            case "POST /authority-requests" if "csr" in content:
                self.requested[content["name"]] = content["csr"]
            case "DELETE /authority-requests/{name}" if "csr" in content:
                self.requested.pop(content["name"], None)
            case "POST /authority-requests/{name}/chain" if "generation" in content:
                self.requested.pop(content["name"], None)
            case "GET /certificates" | "GET /ledger/entries" if content.get("next"):
                self.cursors = [*self.cursors[-20:], content["next"]]
            case "GET /ledger/head" if "checkpoint" in content:
                self.checkpoints = [*self.checkpoints[-5:], content["checkpoint"]]

    def _adopt(self, ask: Ask, token: dict[str, Any]) -> None:
        """Let a new token be a caller from now on, if it lives long enough for that."""
        self.tokens = [*self.tokens[-50:], token["id"], token["name"]]
        self._world.secrets.add(token["token"])
        if not any(short in ask.body for short in (b'"1s"', b'"90s"', b'"15m"')):
            self._adopted += 1
            self._world.adopt(f"adopted {self._adopted % 6}", token)

    def _disown(self, name: str) -> None:
        for key, caller in self._world.callers.items():
            if caller.identity == f"token:{name}":
                self._world.callers[key] = replace(caller, role=None)

    def _place(self, noun: str, name: str, caller: Caller, path: str) -> str:
        """A value for a place in a path."""
        is_admin = _may(caller, Operation.MANAGE_TOKENS)
        match noun, name:
            case "certificates", _:
                return self._serial(caller, path)
            case "profiles", _:
                return str(self._one(words.PROFILES, words.ODD_PROFILES[:-1]))
            case "authority-requests", _:
                own = [*self.requested]  # one is always left, to be looked at and given up
                own = own[:-1] if path.endswith("/chain") else own[-1:]
                self._asked_for = str(self._one(own, ["none-1", *self.authorities[:2]]))
                return self._asked_for
            case "tokens", _:
                return str(self._one(self.tokens[-6:], ["none"] if is_admin else ["none", "admin", "operator"]))
            case "ledger", "level":
                return str(self._one(["0"], ["1", "64", "x"]))
            case "ledger", _:
                return str(self._one(["000.p/5", "000.p/3"], ["000", "x001/067", "000.p/0", "..%2f000"]))
            case _, "shard":
                return str(self._one(words.SHARDS[:2], words.SHARDS))
            case "authorities", _ if path.endswith("/state") and is_admin:
                return str(self._one(self.authorities[-12:], ["spare", "none"]))
        return str(self._one(["issuing-1"], ["issuing", "root-1", "root", *self.authorities[-5:], "none", "%", "\x00"]))

    def _serial(self, caller: Caller, path: str) -> str:
        if path.endswith("/{serial}") and self._is_odd():
            return self._chance.choice(words.SERIALS)
        if caller.identity.startswith("certificate:") and not self._is_odd():
            return caller.identity.removeprefix("certificate:")
        if path.endswith("/release") and self.held and not self._is_odd():
            return self.held.pop()
        own = [known for known in self.certificates if known.identity == caller.identity]
        self._target = self._one(own[-15:], self.certificates[-100:])
        return self._target.serial if self._chance.random() < 0.9 else f"0x00{self._target.serial.upper()}"

    def _proved(self, operation: str) -> dict[str, Any]:
        """What proofs of the ledger are asked about."""
        match operation:
            case "GET /ledger/proof" if self.certificates and self._chance.random() < 0.5:
                return {"serial": self._chance.choice(self.certificates[-20:]).serial}
            case "GET /ledger/proof":
                return {"position": self._one([0, 1, 5], [1 << 40])}
            case "GET /ledger/consistency":
                return {"old": self._one([1, 2, 5], [0, 1 << 40])}
            case "GET /ledger/state" if self.certificates and self._chance.random() < 0.3:
                serial = self._chance.choice(self.certificates[-20:]).serial
                return {"at": clock.timestamp() - 1, "of": "certificate", "serial": serial}
            case "GET /ledger/state":
                at = self._one([1_000_000_000, clock.timestamp() - 1], [0, 1 << 40, 1 << 41])
                return {"at": at, "of": self._one(["authorities", "profiles", "counts"], ["nothing", "certificate"])}
        return {}

    def _query(self, caller: Caller) -> dict[str, Any]:
        offers: dict[str, list[Any]] = {
            "cursor": self.cursors,
            "name": [*FITTING["mesh"], self._one(FITTING["server"], HOSTILE_NAMES)],
            "profile": list(words.PROFILES),
            "state": ["valid", "held", "revoked", "expired", "abandoned"],
            "requested_by": [other.identity for other in self._world.callers.values()],
            "authority": ["issuing-1", "root-1", "none"],
            "limit": [1, 2, 500],
            "after": [0, 1, 50],
            "subject": [known.serial for known in self.certificates[-20:]],
            "expires_before": [0, 1 << 40, 1_900_000_000],
        }
        return {
            name: self._chance.choice(values)
            for name, values in offers.items()
            if values and self._chance.random() < 0.2
        }

    def _body(self, operation: str, case: Case, caller: Caller) -> Any:
        """A body for an operation; of a bold one, now and then with a value that the description alone came up with."""
        makers: dict[str, Callable[[Caller], dict[str, Any]]] = {
            "POST /certificates": self._issue,
            "POST /certificates/{serial}/renew": self._renew,
            "POST /certificates/{serial}/revoke": self._revoke,
            "POST /certificates/revocations": self._revoke_many,
            "POST /authorities": self._authority,
            "POST /authorities/import": self._import,
            "POST /authority-requests": self._request,
            "POST /authority-requests/{name}/chain": self._chain,
            "POST /authorities/{name}/state": self._state,
            "POST /tokens": self._token,
            "POST /identity/explain": lambda _caller: {"token": self._one(words.JWTS, words.ODD_JWTS)},
            "POST /ledger/verify": self._verify,
            "POST /backups": lambda _caller: {},
            "POST /profiles/{name}/compare": self._compare,
            "POST /keys/block": self._block,
        }
        about = self.inventory.body(operation)
        about = self.consumers.body(operation) if about is None else about
        about = self.ceremonies.body(operation) if about is None else about
        body = makers[operation](caller) if about is None else about
        own = case.body if isinstance(case.body, dict) else {}
        strange = [name for name in own if name not in ("filter", "crl_shards")]
        if strange and self._chance.random() < self._boldness / 3:
            name = self._chance.choice(strange)
            body[name] = own[name]
        return body

    def _issue(self, caller: Caller) -> dict[str, Any]:
        profile = self._one(caller.asks_for or words.PROFILES, (*words.PROFILES, *words.ODD_PROFILES))
        names = self._names(profile)
        body: dict[str, Any] = {"profile": profile, "csr": self._csr(names), "names": names, **self._life()}
        if self._is_odd():
            del body["names"]
        if self._is_odd() or profile == "ocsp-signer":
            body.update(subject=self._one(words.SUBJECTS, words.ODD_SUBJECTS), names=[])
        return body

    def _renew(self, caller: Caller) -> dict[str, Any]:
        names = {"names": self._names(self._chance.choice(list(FITTING)))} if self._is_odd() else {}
        return {"csr": self._csr([]), **names, **self._life()}

    def _life(self) -> dict[str, Any]:
        if self._chance.random() < 0.7:
            return {}
        return {"lifetime": self._one(words.LIFETIMES, words.ODD_LIFETIMES)}

    def _names(self, profile: str) -> list[str]:
        """Names that fit, or in a request that is otherwise right also such as do not."""
        chance, fitting = self._chance, FITTING.get(profile, ["dns:a.example.internal"])
        if not (self._is_odd() or (self._boldness and chance.random() < 0.35)):
            return [chance.choice(fitting[:2])]
        hostile = HOSTILE_NAMES if chance.random() < 0.5 else FITTING[chance.choice(list(FITTING))]
        names = [chance.choice(fitting) for _ in range(chance.choice((0, 1, 2, 3)))]
        names += [chance.choice(hostile) for _ in range(chance.choice((0, 1, 1, 2)))]
        return names * 40 if chance.random() < 0.02 else names

    def _csr(self, names: list[str]) -> str:
        """A request as PEM: for one of a few keys or a key of its own, with the names in it, or damaged."""
        kind = self._chance.random()
        if self._is_odd() or (self._boldness and kind < 0.12):
            return pem_request(self._mutator.next())
        if kind < 0.5:
            key = KeyType.P256.generate()
            self._own_key = sha256(spki(key.public_key())).hexdigest()
            return pem_request(rig.make_csr(key=key))
        written = [name for name in names if name in words.WRITABLE] if kind < 0.7 else []
        return pem_request(rig.make_csr(*written, key=self._one(self._keys[:2], self._keys)))

    def _revoke(self, caller: Caller) -> dict[str, Any]:
        """For a key that nothing else has, now and then because it is known to somebody else."""
        has_own = self._target is not None and self._target.key is not None
        is_known = has_own and self._chance.random() < 0.4
        return {"reason": "key-compromise" if is_known else self._one(words.REASONS, words.ODD_REASONS)}

    def _revoke_many(self, caller: Caller) -> dict[str, Any]:
        """By key; or by a filter, without `dry_run` only where it finds few."""
        chance = self._chance
        reason = self._one(words.REASONS, words.ODD_REASONS)
        if chance.random() < 0.3:
            return {"key": self._key_hash(), "reason": chance.choice((reason, "key-compromise"))}
        query = {
            "name": [*FITTING["device"], self._one(FITTING["edge"], HOSTILE_NAMES)],
            "profile": [*words.PROFILES],
            "authority": ["issuing-1", "none"],
            "requested_by": ["token:narrow", "token:nobody", "certificate:0"],
        }
        wanted = {name: chance.choice(values) for name, values in query.items() if chance.random() < 0.5}
        finds_few = "name" in wanted or "requested_by" in wanted
        return {"filter": wanted, "reason": reason, "dry_run": not finds_few or chance.random() < 0.5}

    def _key_hash(self) -> str:
        """The hash of a key that is nobody's, of a CA, or of one certificate alone."""
        own = [known.key for known in self.certificates[-40:] if known.key is not None]
        ours = self._world.product.installation.authorities.get("issuing-1").spki_sha256.hex()
        return str(self._one([*own, self._chance.randbytes(32).hex()], [ours, "0" * 64]))

    def _block(self, caller: Caller) -> dict[str, Any]:
        return {"key": self._key_hash(), "reason": self._one(words.REASONS, words.ODD_REASONS)}

    def _authority(self, caller: Caller) -> dict[str, Any]:
        """Some with the subject of one that exists, some with more shards than there may be; seldom many of them."""
        chance = self._chance
        shards = 4096 if chance.random() < 0.005 else self._one((0, 1, 2, None), (0, 4097, -1, 1 << 70))
        body: dict[str, Any] = {
            "line": self._one(words.LINES, words.ODD_LINES),
            "subject": self._one([f"CN=Spare {chance.randrange(10**9)}"], [*words.SUBJECTS, *words.ODD_SUBJECTS]),
            "crl_shards": shards,
            **self._life(),
        }
        if chance.random() < 0.4:
            body["key_type"] = self._one(words.KEY_TYPES, words.ODD_KEY_TYPES)
        if chance.random() < 0.5:
            body["profile"] = self._one((None, "sub-ca"), ("mesh", "none", "../sub-ca", "ocsp-signer"))
        return body

    def _request(self, caller: Caller) -> dict[str, Any]:
        """As a CA of ours is asked for, but that somebody else decides how long it lives and what it may."""
        known = ("subject", "key_type", "crl_shards")
        line = self._one(["asked-" + "".join(self._chance.choices("abcdefgh", k=12))], [*words.LINES, *words.ODD_LINES])
        return {"line": line, **{name: value for name, value in self._authority(caller).items() if name in known}}

    def _chain(self, caller: Caller) -> dict[str, Any]:
        """What somebody else's CA answers; to another request now and then, or not at all."""
        asked = self._one([self.requested.get(self._asked_for, "")], [*self.requested.values(), ""])
        return {"certificates": chain_for(asked) if asked else pem_certificate(b"0")}

    def _import(self, caller: Caller) -> dict[str, Any]:
        """A root with its key; or half of it, another's key, a passphrase for nothing."""
        key = KeyType.P256.generate()
        subject = rig.common_name(f"Taken Over {self._chance.randrange(10**9)}")
        certificate = self_signed(key, Plan("old", subject, KeyType.P256))
        if self._is_odd():
            certificate = certificate[: self._chance.randrange(len(certificate))]
        body = {
            "line": self._one(words.LINES, words.ODD_LINES),
            "certificate": pem_certificate(certificate),
            "key": _pem_key(self._one([key], self._keys)),
        }
        return body | ({"passphrase": self._chance.choice(("", "x", "\x00"))} if self._is_odd() else {})

    def _state(self, caller: Caller) -> dict[str, Any]:
        return {
            "state": self._one(
                ("tainted", "active", "retired", "tainted"), ("prepared", "Active", "", "lost", "x" * 129)
            )
        }

    def _token(self, caller: Caller) -> dict[str, Any]:
        chance = self._chance
        body: dict[str, Any] = {
            "name": self._one([f"t{chance.randrange(10**9)}"], ["admin", "../x", "a b", "\x00", "é", "a" * 64]),
            "role": self._one(("requester", "requester", "admin", "operator", "auditor"), ("holder", "root", "Admin")),
            "attributes": dict([self._one(words.ATTRIBUTES, words.ODD_ATTRIBUTES) for _ in range(2)]),
        }
        if body["role"] == "requester" or self._is_odd():
            body["profiles"] = chance.sample(words.PROFILES, k=3) + (["none"] if self._is_odd() else [])
        return {**body, **self._life()}

    def _compare(self, caller: Caller) -> dict[str, Any]:
        """A shipped profile's file, or half of one; whether it is the one that is named is another matter."""
        text = (rig.CONFIG / "profiles" / f"{self._chance.choice(words.PROFILES)}.toml").read_text()
        odd = [text[: self._chance.randrange(len(text))], "", "\x00", text.replace("leaf", "authority")]
        return {"content": self._one([text, text.replace("7d", "1d")], odd), "last": self._one([1, 50], [0, 10_001])}

    def _verify(self, caller: Caller) -> dict[str, Any]:
        if not self.checkpoints or self._chance.random() < 0.3:
            return {}
        text = self._chance.choice(self.checkpoints)
        place = self._chance.randrange(len(text))
        return {"checkpoint": self._one([text], [text[:place] + "x" + text[place + 1 :], "", "\ud800", "x" * 8193])}


def _may(caller: Caller, operation: Operation) -> bool:
    return caller.role is not None and operation in allowed(caller.role)


def _pem_key(key: PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
