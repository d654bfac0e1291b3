"""Values about offline CAs that mean something; as `api_living`. Roots go offline, are asked, and return."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ca import approval, hierarchy
from ca.access import Caller, Role
from ca.authority import OFFLINE
from ca.ceremony import asking, leaving, offline
from ca.ceremony.documents import read_request
from ca.errors import Forbidden
from ca.founding import Plan
from ca.installation import ApprovalPolicy
from ca.keys.algorithms import KeyType
from ca.secret import Secret
from ca.x509.bundle import read_private_key
from pki.product import Product
from tests import rig
from tests.fuzz.api_choosing import Choosing

WORDS = "the words of the campaign's safe"
ODD_WORDS = ("", "short", "other words that are long", "\x00" * 12, "x" * 3000)
KEY = "/key/"
STRANGER = Caller("token:stranger", Role.ADMIN)


class Ceremonies:
    """What a campaign knows of roots that are kept offline: their keys, and what they were asked."""

    def __init__(self, product: Product, chance: random.Random, one: Choosing) -> None:
        self._product = product
        self._installation = product.installation
        self._chance = chance
        self._one = one
        self._keys: dict[str, str] = {}
        self._name = ""

    def place(self, operation: str) -> str:
        """A value for a place in a path: a CA, or a ceremony."""
        if "/approvals" in operation:
            return str(self._one([self._waiting()], ["0", "-1", "x", str(1 << 63), "999999"]))
        if operation.endswith("/cross-certificates"):
            return str(self._one([self._uncrossed()], ["issuing-1", "root-1", "none", "\x00"]))
        if KEY in operation:
            name = self._offline() if operation.endswith("return") else self._online()
        elif operation.startswith("GET"):
            name = self._one([one.name for one in asking.listing(self._installation)] or [self._asked()], ["none", "%"])
        else:
            name = self._asked()
        self._name = str(self._one([name], ["none", "issuing-1", "\x00", name]))
        return self._name

    def body(self, operation: str) -> dict[str, Any] | None:
        """A body for an operation on the last place; None if it is not about ceremonies."""
        words = self._one([WORDS], ODD_WORDS)
        key = self._one([self._keys.get(self._name, "")], ["", "x", *self._keys.values()])
        match operation:
            case "POST /authorities/{name}/key/export":
                return {"passphrase": words}
            case "POST /authorities/{name}/key/leave":
                return {"key": key, "passphrase": words, "list_lifetime": self._one(["400d"], ["", "0d", "9999999d"])}
            case "POST /authorities/{name}/key/return":
                return {"key": key, "passphrase": words}
            case "POST /approvals/{number}/grant" | "POST /approvals/{number}/refuse":
                return {}
            case "POST /authorities/{name}/cross-certificates":
                return {"by": self._one(["root-1"], ["issuing-1", "none", self._name, "\x00"])}
            case "POST /ceremonies":
                return self._wanted()
            case "POST /ceremonies/{name}/answer":
                return {"answer": self._answer()}
        return None

    def _wanted(self) -> dict[str, Any]:
        number = self._chance.randrange(10**9)
        body = {"authority": self._one([self._offline()], ["none", "issuing-1", "root-1", "\x00"])}
        if self._chance.random() < 0.5:
            line = "carried-" + "".join(self._chance.choices("abcdefgh", k=12))
            body |= {"line": self._one([line], ["", "Upper", "x" * 50]), "subject": f"CN=Carried {number}"}
            body |= self._one(
                [{}, {"crl_shards": 1}, {"list_lifetime": None}], [{"profile": "mesh"}, {"subject": None}]
            )
        elif self._chance.random() < 0.5:
            body |= {"crosses": self._one(["root-1"], ["issuing-1", "none", self._offline(), "\x00"])}
        return body | self._one([{}], [{"list_lifetime": "0d"}, {"key_type": "DSA"}, {"permit": ["dns:"]}])

    def _answer(self) -> str:
        """What the offline machine answers; cut, or to another request, or nothing now and then."""
        found = [one for one in asking.listing(self._installation) if one.state == "waits"]
        mine = [one for one in found if one.name == self._name] or found
        if not mine:
            return "{}"
        judged = offline.judge(read_request(mine[0].document))
        key = read_private_key(self._keys[mine[0].authority].encode(), Secret(WORDS))
        text = offline.answer(judged, key, present=["Ada"], program="certwright").encode().decode()
        cut = text[: self._chance.randrange(len(text))]
        return str(self._one([text], [cut, "", text.replace("Ada", "\\u202e"), text.replace('"signatures"', '"x"')]))

    def _online(self) -> str:
        """A root whose key is here; its file is known."""
        if found := self._known(is_offline=False):
            return found[0]
        line = "safe-" + "".join(self._chance.choices("abcdefgh", k=12))
        plan = Plan(line, rig.common_name(f"Safe {self._chance.randrange(10**9)}"), KeyType.P256)
        name = self._made(plan)
        self._keys[name] = leaving.export(self._installation, rig.ADMIN, name, Secret(WORDS)).decode()
        return name

    def _uncrossed(self) -> str:
        """A root of its own, which nobody has certified."""
        line = "crossed-" + "".join(self._chance.choices("abcdefgh", k=12))
        plan = Plan(line, rig.common_name(f"Crossed {self._chance.randrange(10**9)}"), KeyType.P256)
        return self._made(plan)

    def _made(self, plan: Plan) -> str:
        """A root with its first list, as the API makes them: without one an alarm would be right."""
        name = hierarchy.create_root(self._installation, rig.ADMIN, plan).name
        self._product.publisher.publish_due()
        return name

    def _offline(self) -> str:
        """A root whose key has left, and which nothing was asked that waits."""
        if found := self._known(is_offline=True):
            return found[0]
        name = self._online()
        leaving.leave(self._installation, rig.ADMIN, name, self._keys[name].encode(), Secret(WORDS))
        return name

    def _waiting(self) -> int:
        """What somebody else wants to do, for which another installation of the same tables would want two persons."""
        found = approval.listing(self._installation, rig.ADMIN)
        waiting = [one.id for one in found if one.state == "waits"]
        if not waiting:
            two = replace(self._installation, approval=ApprovalPolicy(two_persons=True))
            with suppress(Forbidden):
                approval.must(two, STRANGER, "make a root", f"line-{len(found)}", number=self._chance.random())
            waiting = [approval.listing(self._installation, rig.ADMIN)[0].id]
        return waiting[0]

    def _known(self, *, is_offline: bool) -> list[str]:
        busy = {one.authority for one in asking.listing(self._installation) if one.state == "waits"}
        rows = {row.name: row for row in self._installation.authorities.all()}
        return [
            name
            for name in self._keys
            if (rows[name].key_label == OFFLINE) is is_offline and rows[name].state == "active" and name not in busy
        ]

    def _asked(self) -> str:
        """A ceremony that waits."""
        if waiting := [one.name for one in asking.listing(self._installation) if one.state == "waits"]:
            return waiting[-1]
        return asking.request(self._installation, rig.ADMIN, self._offline()).name
