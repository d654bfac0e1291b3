"""Node: `crypto.X509Certificate`, and TLS servers and clients on loopback that insist on each other's certificates.

`validate.js` is started once for all cases. Node reads but the first list of a CRL file, so that each list has to be a
file, or an element, of its own; otherwise the CA whose list is missing has everybody refused. With a list of each CA,
or with all shards, it decides as OpenSSL does, whose work it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ca.keys.algorithms import KeyType
from ca.x509.revocation_list import RevocationReason
from tests import peer, rig
from tests.peers.conftest import KEY_TYPES, MakeMaterial, every_key_type
from tests.peers.material import AUTHORITIES, CLIENTS, NAMES, SERVERS, SHARDS, Leaf, Material, revoked_for

pytestmark = pytest.mark.peer("node")

VALIDATE = Path(__file__).with_name("validate.js")
Answer = dict[str, dict[str, Any]]

HOSTS = (
    "localhost",
    "db.eu.example.internal",
    "shop.edge.example.internal",
    "a.shop.edge.example.internal",
    "internal",
)
MATCHING = {
    "server": {"hosts": ["localhost", "db.eu.example.internal"], "addresses": ["127.0.0.1", "::1"], "emails": []},
    "edge": {"hosts": ["shop.edge.example.internal"], "addresses": ["10.0.0.7"], "emails": []},
    "client": {"hosts": [], "addresses": [], "emails": ["ada@example.internal"]},
    "mesh": {"hosts": [], "addresses": [], "emails": []},
}
"""Which of the names that are tried a leaf is good for."""
USAGES = {"client": "1.3.6.1.5.5.7.3.2", "server": "1.3.6.1.5.5.7.3.1"}


def complete(material: Material) -> list[Path]:
    """The complete list of every CA, each a file."""
    return [material.crl(name) for name in AUTHORITIES]


def sharded(material: Material) -> list[Path]:
    """The root's complete list, the fallen CA's, and all shards of the issuing CA, each a file."""
    shards = [material.shard_crl(number) for number in range(SHARDS)]
    return [material.crl("root"), material.crl("fallen"), *shards]


def side(material: Material, leaf: Leaf | None, crls: list[Path]) -> dict[str, Any]:
    """One end of a connection: it trusts the root, has these lists, and shows a leaf with its chain, or nothing."""
    own = {"chain": None, "key": None} if leaf is None else {"chain": str(leaf.chain), "key": str(leaf.key)}
    return {**own, "ca": [str(material.authority("root"))], "crls": [str(path) for path in crls]}


def handshakes(material: Material) -> Iterator[tuple[str, dict[str, Any]]]:
    """Clients who knock at the server's door, and servers at whose door a mesh workload knocks."""
    named = [*NAMES, "expired", "orphan", *(revoked_for(reason) for reason in RevocationReason)]
    everybody = {name: material[name] for name in named} | {"stranger": material.stranger["mesh"], "nobody": None}
    server, mesh = material["server"], material["mesh"]
    for name, leaf in everybody.items():
        for what, lists in (("complete", complete(material)), ("sharded", sharded(material))):
            client = side(material, leaf, lists)
            yield (
                f"client {name} {what}",
                {"server": side(material, server, lists), "client": client, "name": "localhost"},
            )
            if leaf is not None:
                client = side(material, mesh, lists)
                yield f"server {name} {what}", {"server": side(material, leaf, lists), "client": client, "name": None}
    one_file = [material.complete_crls]
    client = side(material, mesh, complete(material))
    yield "client mesh, one file", {"server": side(material, server, one_file), "client": client, "name": "localhost"}
    for name in ("localhost", "db.eu.example.internal", "evil.example"):
        yield f"name {name}", {"server": side(material, server, complete(material)), "client": client, "name": name}


@pytest.fixture(scope="session")
def answers(material_of: MakeMaterial) -> dict[KeyType, Answer]:
    """What one run of Node says about everything, by key type."""
    node, found = peer.require("node"), {}
    for key_type in KEY_TYPES:
        material = material_of(key_type)
        question = {"inspect": dict(_inspections(material)), "handshakes": dict(handshakes(material))}
        result = peer.run(node, VALIDATE, stdin=json.dumps(question).encode(), timeout=300)
        assert result.returncode == 0, result.stderr.decode()
        found[key_type] = json.loads(result.stdout)
    return found


def _inspections(material: Material) -> Iterator[tuple[str, dict[str, Any]]]:
    for profile in NAMES:
        yield (
            profile,
            {
                "certificate": str(material[profile].certificate),
                "issuer": str(material.authority("issuing")),
                "stranger": str(material.stranger.authority("issuing")),
                "hosts": HOSTS,
                "addresses": ["127.0.0.1", "::1", "10.0.0.7", "10.0.0.8"],
                "emails": ["ada@example.internal", "eve@example.internal"],
            },
        )


@pytest.fixture
def answer(answers: dict[KeyType, Answer], material: Material) -> Answer:
    """What Node says about the material at hand."""
    return answers[material.key_type]


@every_key_type
@pytest.mark.parametrize("profile", NAMES)
def test_a_certificate_is_what_it_says(material: Material, answer: Answer, profile: str) -> None:
    """Signed by our CA, not by a stranger of the same name; serial number, dates, names and usages as issued."""
    seen, leaf = answer["inspect"][profile], material[profile]
    assert (seen["verified"], seen["issued"], seen["isCa"]) == (True, True, False)
    assert (seen["verifiedByStranger"], seen["issuedByStranger"]) == (False, False)
    assert int(seen["serial"], 16) == leaf.parsed.serial_number
    assert seen["validTo"] == leaf.issued.not_after
    usages = {USAGES[side] for side, meant in (("client", CLIENTS), ("server", SERVERS)) if profile in meant}
    assert set(seen["usages"]) == usages
    for name in NAMES[profile]:
        assert ("0:0:0:0:0:0:0:1" if name == "::1" else name) in seen["names"]
    if profile in MATCHING:
        matching = {kind: seen[kind] for kind in ("hosts", "addresses", "emails")}
        assert matching == MATCHING[profile]


@every_key_type
def test_valid_clients_and_servers_are_welcomed(answer: Answer) -> None:
    """Each side trusts the other, with complete lists and, unless a leaf names no list, with shards."""
    trusted = {"ofClient": None, "ofServer": None, "welcomed": True, "failed": None}
    for role, meant in (("client", CLIENTS), ("server", SERVERS)):
        for profile in meant:
            assert answer["handshakes"][f"{role} {profile} complete"] == trusted, (role, profile)
            if profile != "ephemeral":
                assert answer["handshakes"][f"{role} {profile} sharded"] == trusted, (role, profile)


@every_key_type
@pytest.mark.parametrize("lists", ["complete", "sharded"])
def test_revoked_ones_are_refused(answer: Answer, lists: str) -> None:
    """For every reason, by servers and by clients; and the orphans of a revoked CA, too."""
    for leaf in ("orphan", *(revoked_for(reason) for reason in RevocationReason)):
        assert _refused(answer, "client", f"{leaf} {lists}") == "CERT_REVOKED", leaf
        assert _refused(answer, "server", f"{leaf} {lists}") == "CERT_REVOKED", leaf


@every_key_type
@pytest.mark.parametrize("lists", ["complete", "sharded"])
def test_others_are_refused_for_the_right_reason(answer: Answer, lists: str) -> None:
    """Expired ones, those with another purpose, strangers, and who shows no certificate at all."""
    for role, other in (("client", "server"), ("server", "client")):
        assert _refused(answer, role, f"expired {lists}") == "CERT_HAS_EXPIRED"
        assert _refused(answer, role, f"{other} {lists}") == "INVALID_PURPOSE"
        assert _refused(answer, role, f"stranger {lists}") in {"UNABLE_TO_GET_CRL", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"}
    assert _refused(answer, "client", f"nobody {lists}") == "UNABLE_TO_GET_ISSUER_CERT"


def _refused(answer: Answer, role: str, who: str) -> str:
    """Why one side refuses the other; the client is not welcomed."""
    seen = answer["handshakes"][f"{role} {who}"]
    assert not seen["welcomed"], who
    why = seen["ofClient" if role == "client" else "ofServer"]
    assert why is not None, who
    return str(why)


@every_key_type
def test_who_names_no_list_is_in_no_shard(answer: Answer) -> None:
    """An ephemeral leaf needs the complete list where a server checks CRLs."""
    assert _refused(answer, "client", "ephemeral sharded") == "UNABLE_TO_GET_CRL"


@every_key_type
def test_of_a_file_of_lists_only_the_first_is_read(answer: Answer) -> None:
    """That is Node's, and it fails closed: it has the root's list and misses the issuing CA's."""
    assert _refused(answer, "client", "mesh, one file") == "UNABLE_TO_GET_CRL"


@every_key_type
def test_servers_are_known_by_their_names(answer: Answer) -> None:
    """A client that asked for another name does not stay."""
    for name in ("localhost", "db.eu.example.internal"):
        assert answer["handshakes"][f"name {name}"]["welcomed"]
    assert answer["handshakes"]["name evil.example"]["failed"] == "ERR_TLS_CERT_ALTNAME_INVALID"
    assert not answer["handshakes"]["name evil.example"]["welcomed"]


def test_a_spiffe_id_is_shown_as_it_is(answers: dict[KeyType, Answer]) -> None:
    """What a mesh's authoriser reads from the certificate of its peer."""
    assert f"URI:{rig.WORKLOAD}" in answers[KeyType.P256]["inspect"]["mesh"]["names"]
