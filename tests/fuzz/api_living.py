"""Values about the inventory that mean something to a living installation; as `api_values`, which asks here.

Some of it stands from the beginning and is never taken away: an owner to whom orphans fall, a lineage that was renewed
and brought to a destination, an endpoint. What is removed was made by a request before.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

from ca.x509.bundle import pem_certificate
from tests.fuzz import api_answering as answering
from tests.fuzz import api_words as words
from tests.fuzz.api_choosing import Choosing
from tests.renewers.listeners import make

STANDING = {"owners": "everybody", "lineages": "standing", "destinations": "brought", "issuers": "rolling"}
PLACE = "tls:standing.example.internal:443"
NOUNS = frozenset(
    {*STANDING, "tracked", "endpoints", "scans", "renewals", "alarms", "events", *answering.NOUNS},
)
ODD_NAMES = ("none", "%", "../x", "a/b", "\u202e", "standing/renew", "#1", "1", "x" * 300, ".", "\u0661")
ODD_PATTERNS = ("*", "dns:*.*", "a..b", "uri:spiffe://", "uri:spiffe://x/*/y", "token:", "\x7f", "x" * 2048)
ODD_TARGETS = (
    *("", "#", "0.0.0.0/0", "224.0.0.1", "127.1", "::/0:1", "[::1", "a:b:c", "x" * 5000, "gopher://x", "10.0.0.1/24"),
    *("-:1", "a:0", "a:70000", "a:9-1", "\x00", "é", "fe80::1%eth0", "a#", "10.0.0.0/8:1-65535", "0x7f000001:1"),
)
ODD_DIRECTORIES = ("", "nonsense", "./x", "..", "~", "/nonexistent", "/nonexistent/../x", "/\x00", "\u202e", "/" * 5000)
"""None of which is on any machine."""
ODD_SETTINGS: tuple[dict[str, Any], ...] = (
    *({}, {"directory": "relative"}, {"directory": "/"}, {"directory": "/a/../b"}, {"directory": "/a\x00b"}, {"x": 1}),
    *({"directory": "/nonexistent/x", "mode": "0644"}, {"directory": "/nonexistent/x", "reload": "rm -rf x"}),
    *({"directory": "/nonexistent/x", "owner": "nobody-at-all"}, {"directory": ["x"]}, {"directory": True}),
)


class Inventory:
    """What a campaign knows of the inventory."""

    def __init__(self, chance: random.Random, one: Choosing, files: str) -> None:
        self._chance = chance
        self._files = files
        self._one = one
        self._foreign = [make(f"foreign-{number}.example").der for number in range(6)]
        self.made: dict[str, list[str]] = {noun: [] for noun in STANDING}
        self.tracked: list[str] = ["#1", "#2"]

    def place(self, noun: str, method: str) -> str:
        """A value for the one place that a path has."""
        if noun == "tracked":
            return str(self._one(self.tracked[-10:], ODD_NAMES))
        if noun == "endpoints":
            return str(self._one([PLACE], ("tls:none:1", "file:/etc/x", *ODD_NAMES)))
        if noun in answering.NOUNS:
            return str(self._one(answering.PLACES[noun], ODD_NAMES))
        own = self.made[noun][-6:]
        return str(self._one(own if method == "DELETE" else [STANDING[noun], *own], ODD_NAMES))

    def query(self, noun: str, method: str) -> dict[str, Any]:
        """Filters that find something, or nothing."""
        offers: dict[str, dict[str, list[Any]]] = {
            "tracked": {
                "name": ["foreign-1.example", "standing", *words.HOSTILE_NAMES[:9]],
                "issuer": ["foreign", "Fuzzed", ""],
                "owner": ["everybody", "none"],
                "kind": ["certificate", "authority", "crl", "bundle"],
                "source": ["imported", "renewed", "issued"],
                "stage": ["fine", "due"],
                "mode": ["renewed", "manual", "holder"],
                "expires_before": [0, 1 << 40],
                "orphan": [True],
                "replaced": [True],
            },
            "lineages": {"force": [True]} if method == "DELETE" else {"mode": ["renewed", "manual"]},
            "destinations": {"lineage": ["standing", "none"]} if method == "GET" else {},
            "renewals": {"kind": ["renew", "deliver"], "standing": ["planned", "due", "failing", "stopped"]},
            "endpoints": {"finding": ["any", "expired"], "failing": [True, False]},
            **{known: dict(values) for known, values in answering.QUERIES.items()},
            "events": {"kind": ["lineage-created"], "subject": ["standing"], "severity": ["info", "error"]},
        }
        found = {
            name: self._chance.choice(v) for name, v in offers.get(noun, {}).items() if self._chance.random() < 0.2
        }
        found |= {name: self._one([good], [odd]) for name, (good, odd) in answering.NEEDED.get(noun, {}).items()}
        if (noun, method) == ("owners", "DELETE"):
            found["heir"] = self._one(["everybody"], ["none"])
        if method == "GET" and self._chance.random() < 0.2:
            found["limit"] = self._chance.choice([1, 2, 500]) if noun not in ("owners", "issuers") else 1
        return found

    def body(self, operation: str) -> dict[str, Any] | None:
        """A body for an operation of the inventory; None for another's."""
        makers: dict[str, Callable[[], dict[str, Any]]] = {
            "POST /owners": self._owner,
            "PATCH /owners/{name}": self._owner_change,
            "POST /owners/{name}/claims": self._claim,
            "POST /owners/{name}/releases": self._claim,
            "POST /tracked": self._import,
            "PUT /tracked/{identity}/owner": lambda: {"owner": self._one(["everybody", None], ODD_NAMES)},
            "POST /scans": self._scan,
            "POST /lineages": self._lineage,
            "PATCH /lineages/{name}": self._lineage_change,
            "POST /destinations": self._destination,
            **answering.makers(self._one, self._number),
            "PATCH /destinations/{name}": lambda: {"rank": self._one((0, 1, -5), (1001, 1 << 70, 0.5))},
        }
        if operation in makers:
            return makers[operation]()
        return {} if operation.split("/")[1] in NOUNS else None

    def hear(self, operation: str, content: Any) -> None:
        """Remember what was made."""
        noun = operation.split("/")[1]
        if operation in ("POST /owners", "POST /lineages", "POST /destinations") and "name" in content:
            self.made[noun].append(content["name"])
        elif operation.startswith("DELETE ") and noun in self.made and content.get("removed") in self.made[noun]:
            self.made[noun].remove(content["removed"])
        elif operation == "POST /tracked" and isinstance(content, list):
            self.tracked += [identity for one in content for identity in one["tracked"]]

    def _number(self) -> int:
        return self._chance.randrange(10**9)

    def _owner(self) -> dict[str, Any]:
        return {
            "name": self._one([f"team {self._number()}"], ("everybody", "<b>", "é\x00", "x" * 129, " ", "a\u202e")),
            "email": self._one(["team@example.internal"], ("nobody", "a@b\r\nBcc: c", "@", "a" * 400)),
            "time_zone": self._one(["UTC", "Europe/Berlin"], ("../../etc/passwd", "Nowhere", "")),
            "escalation": self._one([[], ["boss@example.internal"]], (["x"] * 6, ["nobody"])),
        }

    def _owner_change(self) -> dict[str, Any]:
        return self._one(
            [{"email": "new@example.internal"}, {"time_zone": "Asia/Tokyo"}, {}, {"escalation": []}],
            ({"email": "nobody"}, {"time_zone": "x"}, {"is_fallback": False}, {"name": "<b>"}),
        )

    def _claim(self) -> dict[str, Any]:
        good = [("name", f"dns:*.n{self._number()}.example"), ("requester", f"token:t{self._number()}")]
        kind, pattern = self._one(good, [("name", each) for each in ODD_PATTERNS] + [("other", "x")])
        return {"kind": kind, "pattern": pattern}

    def _import(self) -> dict[str, Any]:
        der = self._chance.choice(self._foreign)
        cut = der[: self._chance.randrange(len(der))]
        good = [
            {"name": "a.pem", "pem": pem_certificate(der)},
            {"name": "b.der", "der": base64.b64encode(der).decode()},
        ]
        odd = [
            *({"name": "c", "der": base64.b64encode(cut).decode()}, {"name": "d", "pem": "x", "der": "eA=="}),
            *({"name": "e", "pem": "-----BEGIN CERTIFICATE-----\n"}, {"name": "f", "der": "!"}, {"name": "g"}),
        ]
        items = [self._one(good, odd) for _ in range(self._chance.choice((1, 1, 2, 5)))]
        return {"items": items} | (
            {"owner": self._one(["everybody"], ODD_NAMES)} if self._chance.random() < 0.3 else {}
        )

    def _scan(self) -> dict[str, Any]:
        good = ["127.0.0.1:1", "api.example.internal 10.0.0.0/29:443,8443", "smtp://mail.example.internal"]
        if self._chance.random() < 0.4:
            return {"directory": self._one([self._files, f"{self._files}/deep"], ODD_DIRECTORIES)}
        return {"targets": self._one(good, ODD_TARGETS)}

    def _lineage(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": self._one([f"line {self._number()}", f"uri:x/{self._number()}"], ("standing", *ODD_NAMES)),
            "names": self._one(
                [[f"n{self._number()}.edge.example.internal"]], [[name] for name in words.HOSTILE_NAMES]
            ),
        }
        if self._chance.random() < 0.4:
            body["issuers"] = self._one(([], ["internal"], ["rolling", "internal"]), (["none"], ["internal"] * 2, [""]))
        if self._chance.random() < 0.3:
            body["profile"] = self._one(("", "edge", "server"), words.ODD_PROFILES)
            body["key_type"] = self._one(("", "P-256", "Ed25519"), words.ODD_KEY_TYPES)
        return body

    def _lineage_change(self) -> dict[str, Any]:
        return self._one(
            [{"key_age": "30d"}, {"key_age": None}, {"owner": "everybody"}, {"lifetime": "7d"}, {}],
            ({"names": []}, {"mode": "x"}, {"window": "none"}, {"issuers": ["none"]}, {"names": ["a..b"]}),
        )

    def _destination(self) -> dict[str, Any]:
        directory = f"/nonexistent/{self._number()}"
        good = [{"directory": directory}, {"directory": directory, "keep": 5}]
        return {
            "name": self._one([f"place-{self._number()}"], ("brought", *ODD_NAMES)),
            "lineage": self._one(["standing", *self.made["lineages"][-3:]], ODD_NAMES),
            "settings": self._one(good, (*ODD_SETTINGS, {"directory": directory, "reload": ["/bin/true"]})),
            "probe": self._one(["", "127.0.0.1:1"], ODD_TARGETS),
        }
