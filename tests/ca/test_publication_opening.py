"""The checking side: what it refuses, and with which reason; what is right is accepted under every kind of CA key.

Each refusal starts from a manifest that is accepted, and differs from it in one thing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from ca import clock, der
from ca.errors import BadRequest
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType
from ca.publication import jws
from ca.publication.chain import MOST_STEPS, _Search
from ca.publication.manifest import Item, ListEntry, ListKind, Previous
from ca.publication.opening import Held, check_files, check_list, unverified
from ca.x509.certificate import algorithm_of, assemble
from tests import rig
from tests.ca.publishing import (
    DAY,
    DOMAIN,
    NAME,
    STREAM,
    Node,
    encode,
    header_of,
    joined,
    make,
    make_leaf,
    make_manifest,
    make_world,
    opened,
    raw_signature,
    refusal,
)

WORLD = make_world()
MANIFEST = make_manifest()
SIGNED = WORLD.sign(MANIFEST)
URI = x509.UniformResourceIdentifier


def refused(signed: bytes, *anchors: Node, **choices: Any) -> str:
    return refusal(opened, signed, anchors or [WORLD.root], **choices)


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_whoever_has_a_root_can_check(key_type: KeyType) -> None:
    """The new root, the old one by way of the cross-certificate, the issuing CA itself; whatever keys CAs have."""
    world = make_world(key_type)
    signed = world.sign(MANIFEST)
    for anchors in ([world.root], [world.old], [world.issuing], [WORLD.root, world.old]):
        assert opened(signed, anchors) == MANIFEST
    assert unverified(signed) == MANIFEST
    assert refusal(opened, world.sign(MANIFEST, [world.leaf.der, world.issuing.der]), [world.old]) == (
        "untrusted-manifest"
    )


# Replays, forks, the wrong place, the wrong time.


def test_a_replayed_old_manifest_is_refused() -> None:
    held = Held(101, "1" * 64)
    assert refused(SIGNED, held=held) == "replayed-manifest"
    assert opened(SIGNED, [WORLD.root], held=Held(100, MANIFEST.sha256)) == MANIFEST, "the same once more is no harm"


@pytest.mark.parametrize(
    ("held", "previous", "is_refused"),
    [
        (Held(100, "1" * 64), Previous(99, "0" * 64), True),
        (Held(99, "1" * 64), Previous(99, "0" * 64), True),
        (Held(98, "1" * 64), Previous(97, "0" * 64), True),
        (Held(98, "1" * 64), None, True),
        (Held(99, "0" * 64), Previous(99, "0" * 64), False),
        (Held(50, "1" * 64), Previous(99, "0" * 64), False),
    ],
)
def test_a_fork_is_refused(held: Held, previous: Previous | None, is_refused: bool) -> None:
    """Two of one version; one that goes on from another, past ours, or from nothing. Versions may be missed."""
    manifest = replace(MANIFEST, previous=previous)
    if is_refused:
        assert refused(WORLD.sign(manifest), held=held) == "forked-manifest"
    else:
        assert opened(WORLD.sign(manifest), [WORLD.root], held=held) == manifest


def test_another_stream_or_trust_domain_is_refused() -> None:
    assert refused(SIGNED, stream=f"crl:{DOMAIN}") == "wrong-stream"
    assert refused(SIGNED, trust_domain="other.internal", stream="trust:other.internal") == "untrusted-manifest"
    theirs = replace(MANIFEST, stream="trust:other.internal", trust_domain="other.internal")
    assert refused(WORLD.sign(theirs)) == "wrong-stream"
    assert refused(WORLD.sign(theirs), stream="trust:other.internal") == "wrong-stream", "ours does not speak for them"
    about_them = replace(MANIFEST, stream="trust:other.internal")
    assert opened(WORLD.sign(about_them), [WORLD.root], stream="trust:other.internal") == about_them


def test_what_has_expired_is_refused() -> None:
    assert opened(SIGNED, [WORLD.root], now=MANIFEST.expires_at) == MANIFEST
    assert refused(SIGNED, now=MANIFEST.expires_at + 1) == "expired-manifest"


@pytest.mark.parametrize(
    "size", [0, 1, 100, len(SIGNED) // 2, len(SIGNED) - 1], ids=["nothing", "one", "a hundred", "half", "all but one"]
)
def test_a_truncated_manifest_is_refused(size: int) -> None:
    assert refused(SIGNED[:size]) == "bad-manifest"


# The signer.


def test_another_key_is_refused() -> None:
    """A leaf of another root; our chain with a signature by another key; our root's name with another key."""
    stranger = make_world(KeyType.P384)
    assert refused(stranger.sign(MANIFEST)) == "untrusted-manifest"
    mine = rig.pooled_key(KeyType.P256, 5)
    header, payload = encode(header_of(WORLD.chain)), encode(MANIFEST.encode())
    signature = encode(raw_signature(mine, f"{header}.{payload}"))
    assert refused(joined({"payload": payload, "protected": header, "signature": signature})) == "untrusted-manifest"
    namesake = make("New Root", rig.pooled_key(KeyType.P256, 6))
    assert refused(SIGNED, namesake) == "untrusted-manifest"
    assert refusal(opened, SIGNED, []) == "untrusted-manifest"


LEAVES: dict[str, dict[str, Any]] = {
    "a workload of the mesh": {"name": rig.WORKLOAD},
    "a name that only begins so": {"name": NAME + "/x"},
    "another case": {"name": NAME.replace("publications", "Publications")},
    "another trust domain": {"name": NAME.replace(DOMAIN, "other.internal")},
    "the probe": {"name": f"spiffe://{DOMAIN}/certwright/probe"},
    "a second name": {"names": [URI(NAME), x509.DNSName("a.example.internal")]},
    "a second URI": {"names": [URI(rig.WORKLOAD), URI(NAME)]},
    "a DNS name": {"names": [x509.DNSName("publications.example.internal")]},
    "no name": {"names": []},
    "a CA": {"is_ca": True, "usage": ["signature"]},
    "keys for certificates": {"usage": ["signature", "cert"]},
    "no signatures": {"usage": []},
    "another purpose": {"extended": [ExtendedKeyUsageOID.CODE_SIGNING]},
    "half the purpose": {"extended": [ExtendedKeyUsageOID.SERVER_AUTH]},
    "expired": {"life": (clock.now() - 9 * DAY, clock.now() - timedelta(minutes=5))},
    "not yet valid": {"life": (clock.now() + timedelta(hours=1), clock.now() + DAY)},
    "a critical stranger": {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\5\0"), True)]},
}


@pytest.mark.parametrize("choices", LEAVES.values(), ids=LEAVES.keys())
def test_only_the_signer_of_publications_signs(choices: dict[str, Any]) -> None:
    """An ordinary leaf of the very same CA does not, whatever else is right about it."""
    leaf = make_leaf(WORLD.issuing, **choices)
    world = replace(WORLD, leaf=leaf)
    assert refused(world.sign(MANIFEST)) == "untrusted-manifest"
    assert opened(SIGNED, [WORLD.root]) == MANIFEST


WEAK: dict[KeyType, tuple[bytes, tuple[Any, ...]]] = {
    KeyType.P256: (der.sequence(der.oid("1.2.840.10045.4.1")), (ec.ECDSA(hashes.SHA1()),)),
    KeyType.RSA3072: (
        der.sequence(der.oid("1.2.840.113549.1.1.14"), der.NULL),
        (padding.PKCS1v15(), hashes.SHA224()),
    ),
}


@pytest.mark.parametrize(("key_type", "weak"), WEAK.items())
def test_a_link_with_a_weak_hash_is_refused(key_type: KeyType, weak: tuple[bytes, tuple[Any, ...]]) -> None:
    """Put together by hand: the library makes none of them, but verifies one."""
    issuing = make("Issuing", rig.pooled_key(key_type, 2), WORLD.root)
    leaf = make_leaf(issuing).certificate.tbs_certificate_bytes
    identifier, arguments = weak
    _, start, _ = der.header(leaf, 0)
    tbs = der.sequence(leaf[start:].replace(algorithm_of(leaf), identifier, 1))
    signed = assemble(tbs, identifier, issuing.key.sign(tbs, *arguments))
    assert refused(WORLD.sign(MANIFEST, [signed, issuing.der])) == "untrusted-manifest"


def test_a_signer_without_extended_key_usage_will_do() -> None:
    assert opened(replace(WORLD, leaf=make_leaf(WORLD.issuing, extended=[])).sign(MANIFEST), [WORLD.root]) == MANIFEST


def test_a_signer_on_another_curve_is_refused() -> None:
    """Whatever fits into 64 bytes: ES256 is P-256 alone (RFC 7518 section 3.4)."""
    key = ec.generate_private_key(ec.SECP256K1())
    leaf = make("", key, WORLD.issuing, is_ca=False, names=[URI(NAME)])  # type: ignore[arg-type]
    header, payload = encode(header_of([leaf.der, WORLD.issuing.der])), encode(MANIFEST.encode())
    signature = encode(raw_signature(key, f"{header}.{payload}"))
    assert refused(joined({"payload": payload, "protected": header, "signature": signature})) == "untrusted-manifest"


URI_BELOW = x509.NameConstraints([URI(DOMAIN)], None)
BETWEEN: dict[str, tuple[dict[str, Any], bool]] = {
    "as it ought": ({}, True),
    "no CA": ({"is_ca": False}, False),
    "no CA, but with its usages": ({"is_ca": False, "usage": ["cert", "crl"]}, False),
    "keys for CRLs alone": ({"usage": ["crl"]}, False),
    "expired": ({"life": (clock.now() - 9 * DAY, clock.now() - DAY)}, False),
    "not yet valid": ({"life": (clock.now() + DAY, clock.now() + 9 * DAY)}, False),
    "names inside": ({"extra": [(URI_BELOW, True)]}, True),
    "names inside a domain": ({"extra": [(x509.NameConstraints([URI(".internal")], None), True)]}, True),
    "names outside": ({"extra": [(x509.NameConstraints([URI("other.internal")], None), True)]}, False),
    "names excluded": ({"extra": [(x509.NameConstraints(None, [URI(".internal")]), True)]}, False),
    "names of another kind": ({"extra": [(x509.NameConstraints([x509.DNSName("a.example")], None), True)]}, True),
    "subjects constrained": (
        {"extra": [(x509.NameConstraints([x509.DirectoryName(rig.common_name("x"))], None), True)]},
        False,
    ),
    "a critical stranger": ({"extra": [(x509.PolicyConstraints(0, None), True)]}, False),
}


@pytest.mark.parametrize(("choices", "is_accepted"), BETWEEN.values(), ids=BETWEEN.keys())
def test_each_link_is_checked(choices: dict[str, Any], is_accepted: bool) -> None:
    """RFC 5280 section 6.1, as far as CAs of this product go."""
    issuing = make("Issuing", WORLD.issuing.key, WORLD.root, **choices)
    signed = replace(WORLD, issuing=issuing).sign(MANIFEST)
    if is_accepted:
        assert opened(signed, [WORLD.root]) == MANIFEST
    else:
        assert refused(signed) == "untrusted-manifest"


def test_path_lengths_count_from_the_leaf() -> None:
    """A CA that may have none beneath itself has none; an anchor below it does not ask it."""
    short = make("Short", rig.pooled_key(KeyType.P256, 3), WORLD.root, path_length=0)
    below = make("Below", rig.pooled_key(KeyType.P256, 4), short)
    leaf = make_leaf(below)
    world = replace(WORLD, leaf=leaf)
    assert refused(world.sign(MANIFEST, [leaf.der, below.der, short.der])) == "untrusted-manifest"
    assert opened(world.sign(MANIFEST, [leaf.der, below.der]), [short, below]) == MANIFEST


def test_an_anchor_has_to_be_valid_itself() -> None:
    old = make("New Root", WORLD.root.key, life=(clock.now() - 9 * DAY, clock.now() - DAY))
    assert refused(SIGNED, old) == "untrusted-manifest"


def test_a_leaf_is_no_ca() -> None:
    """A mesh workload's key that signs itself a signer's certificate."""
    workload = make_leaf(WORLD.issuing, rig.WORKLOAD)
    named = Node(workload.certificate, workload.key)
    forged = make_leaf(named)
    chain = [forged.der, workload.der, WORLD.issuing.der]
    assert refused(replace(WORLD, leaf=forged).sign(MANIFEST, chain)) == "untrusted-manifest"


def test_a_maze_of_certificates_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that all sign each other and lead nowhere, a million ways: the search gives up."""
    key = rig.pooled_key(KeyType.P256, 7)
    maze = [make("Maze", key) for _ in range(jws.LONGEST_CHAIN - 1)]
    leaf = make_leaf(maze[0])
    steps = []
    search = _Search.leads_up

    def counted(self: _Search, *arguments: Any) -> bool:
        steps.append(1)
        assert len(steps) < 20 * MOST_STEPS, "it wanders on"
        return search(self, *arguments)

    monkeypatch.setattr(_Search, "leads_up", counted)
    signed = replace(WORLD, leaf=leaf).sign(MANIFEST, [leaf.der, *(one.der for one in maze)])
    assert refused(signed) == "untrusted-manifest"
    assert MOST_STEPS < len(steps) < 20 * MOST_STEPS


def test_a_long_chain_is_refused() -> None:
    chain = [WORLD.leaf.der, *[WORLD.issuing.der] * jws.LONGEST_CHAIN]
    assert refusal(WORLD.sign, MANIFEST, chain) == "bad-manifest"


# The envelope: what has been the way past somebody's check.

HEADER = header_of(WORLD.chain)
PUBLIC = WORLD.leaf.key.public_key()
JWK = {"kty": "EC", "crv": "P-256", "x": encode(b"\1" * 32), "y": encode(b"\2" * 32)}
HEADERS: dict[str, dict[str, Any]] = {
    "none": {"alg": "none"},
    "None": {"alg": "None"},
    "empty": {"alg": ""},
    "HS256": {"alg": "HS256"},
    "ES256 in lower case": {"alg": "es256"},
    "ES384": {"alg": "ES384"},
    "RS256": {"alg": "RS256"},
    "two algorithms": {"alg": ["ES256"]},
    "no algorithm": {"alg": None},
    "another type": {"typ": "JWT"},
    "no type": {"typ": None},
    "no chain": {"x5c": None},
    "an empty chain": {"x5c": []},
    "a chain that is text": {"x5c": HEADER["x5c"][0]},
    "a chain of numbers": {"x5c": [1]},
    "a chain with a null": {"x5c": [*HEADER["x5c"], None]},
    "base64 with a break": {"x5c": [HEADER["x5c"][0] + "\n"]},
    "base64url": {"x5c": [HEADER["x5c"][0].replace("+", "-").replace("/", "_") + "-_"]},
    "trailing bytes": {"x5c": [*HEADER["x5c"][:1], "AAAA"]},
    "jwk": {"jwk": JWK},
    "kid": {"kid": "../../dev/null"},
    "jku": {"jku": "https://stranger.example/keys"},
    "x5u": {"x5u": "https://stranger.example/cert"},
    "crit": {"crit": ["exp"], "exp": 1},
    "b64": {"b64": False, "crit": ["b64"]},
    "zip": {"zip": "DEF"},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS.keys())
def test_other_headers_are_refused(changes: dict[str, Any]) -> None:
    """Signed by the right key, and by what the header asks for where a fool would follow it."""
    header, payload = encode(header_of(WORLD.chain, **changes)), encode(MANIFEST.encode())
    secret = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[union-attr]
    signatures = {
        "right": raw_signature(WORLD.leaf.key, f"{header}.{payload}"),  # type: ignore[arg-type]
        "none": b"",
        "mac": hmac.new(secret, f"{header}.{payload}".encode(), hashlib.sha256).digest(),
    }
    for signature in signatures.values():
        outer = {"payload": payload, "protected": header, "signature": encode(signature)}
        assert refused(joined(outer)) == "bad-manifest"


def test_the_header_that_is_expected_is_accepted() -> None:
    """The way the refusals above are built is the right one, but for what they change."""
    header, payload = encode(HEADER), encode(MANIFEST.encode())
    signature = encode(raw_signature(WORLD.leaf.key, f"{header}.{payload}"))  # type: ignore[arg-type]
    assert opened(joined({"payload": payload, "protected": header, "signature": signature}), [WORLD.root]) == MANIFEST


OUTER = json.loads(SIGNED)
ENVELOPES: dict[str, bytes] = {
    "an unprotected header": joined(OUTER | {"header": {"alg": "ES256"}}),
    "general serialization": joined({"payload": OUTER["payload"], "signatures": [OUTER]}),
    "compact serialization": ".".join((OUTER["protected"], OUTER["payload"], OUTER["signature"])).encode(),
    "two payloads": SIGNED.replace(b'{"payload"', b'{"payload":"e30","payload"'),
    "white space": SIGNED.replace(b",", b", "),
    "a byte behind": SIGNED + b"\n",
    "padding": joined(OUTER | {"signature": OUTER["signature"] + "=="}),
    "no signature": joined(OUTER | {"signature": ""}),
    "a null": joined(OUTER | {"signature": None}),
    "a DER signature": joined(OUTER | {"signature": encode(b"\x30" * 70)}),
    "a longer one": joined(OUTER | {"signature": OUTER["signature"] + "AA"}),
    "a header that is a list": joined(OUTER | {"protected": encode(b"[]")}),
    "a header with a key twice": joined(
        OUTER | {"protected": encode(json.dumps(HEADER).replace("{", '{"alg":"none",').encode())}
    ),
    "too large": joined(OUTER | {"payload": "A" * (jws.LARGEST + 4)}),
}


@pytest.mark.parametrize("signed", ENVELOPES.values(), ids=ENVELOPES.keys())
def test_other_envelopes_are_refused(signed: bytes) -> None:
    assert refused(signed) == "bad-manifest"


@pytest.mark.parametrize("half", [b"\0" * 32, b"\xff" * 32], ids=["zero", "large"])
def test_signatures_outside_the_group_are_refused(half: bytes) -> None:
    """r and s of zero verified everything in one well-known runtime."""
    for signature in (half + half, half + b"\1" * 32, b"\1" * 32 + half):
        assert refused(joined(OUTER | {"signature": encode(signature)})) == "untrusted-manifest"


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_a_changed_byte_never_verifies_to_something_else(place: int, difference: int) -> None:
    damaged = bytearray(SIGNED)
    damaged[place] ^= difference
    assert refused(bytes(damaged)) in {"bad-manifest", "untrusted-manifest"}


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=80))
def test_noise_in_an_envelope_is_refused(protected: bytes, payload: bytes, signature: bytes) -> None:
    outer = {"payload": encode(payload), "protected": encode(protected), "signature": encode(signature)}
    assert refused(joined(outer)) == "bad-manifest"
    assert refused(protected + payload + signature) == "bad-manifest"


def test_a_payload_that_is_no_manifest_is_refused() -> None:
    """Even under the right signature."""
    assert refused(WORLD.sign(b'{"a":1}')) == "bad-manifest"


# Files and lists.


def test_files_are_held_against_the_manifest() -> None:
    manifest = make_manifest(
        items=[Item("bundle.pem", sha256(b"bundle").hexdigest(), 6), Item("jwks.json", sha256(b"{}").hexdigest(), 2)]
    )
    check_files(manifest, {"bundle.pem": b"bundle"})
    check_files(manifest, {"bundle.pem": b"bundle", "jwks.json": b"{}"}, all_of_them=True)
    for changed in (b"bundl", b"", b"bundlE", b"bundle\n"):
        assert refusal(check_files, manifest, {"bundle.pem": changed}) == "changed-file"
    assert refusal(check_files, manifest, {"other.pem": b"bundle"}) == "missing-file"
    assert refusal(check_files, manifest, {"bundle.pem": b"bundle"}, all_of_them=True) == "missing-file"


def crl(number: int, issuer: Node = WORLD.issuing, *, base: int | None = None) -> bytes:
    """A CRL, a delta with a base."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Issuing")]))
        .last_update(clock.now() - timedelta(minutes=1))
        .next_update(clock.now() + DAY)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def entry_of(der: bytes, number: int, kind: ListKind = ListKind.COMPLETE) -> ListEntry:
    now = clock.timestamp()
    return ListEntry("issuing-1", -1, kind, number, now - 60, now + 86400, sha256(der).hexdigest(), len(der))


def test_lists_are_held_against_the_manifest() -> None:
    old, new = crl(6), crl(7)
    entry, delta = entry_of(new, 7), crl(8, base=7)
    manifest = make_manifest(lists=[entry])
    known = [WORLD.issuing.der]
    for held in (None, 6, 7):
        check_list(manifest, entry, new, held, certificates=known)
    check_list(manifest, entry_of(delta, 8, ListKind.DELTA), delta, 7, certificates=known)
    assert refusal(check_list, manifest, entry, new, 8) == "older-list"
    assert refusal(check_list, manifest, entry, old, None) == "older-list", "an old one in the place of the new"
    assert refusal(check_list, manifest, entry, crl(9), None) == "changed-list"
    for damaged in (new[:-1], b"", new[:40], new + b"\0"):
        assert refusal(check_list, manifest, entry, damaged, None) == "changed-list"
    assert refusal(check_list, manifest, entry, new, None, now=entry.next_update + 1) == "expired-list"
    check_list(manifest, entry, new, None, now=entry.next_update)


def test_a_list_that_the_manifest_describes_wrongly_is_refused() -> None:
    """Even a publisher that was taken over cannot pass off what a CA did not sign as that."""
    forged, delta = crl(7, WORLD.root), crl(8, base=7)
    known = [WORLD.issuing.der]
    manifest = make_manifest()
    assert refusal(check_list, manifest, entry_of(forged, 7), forged, None, certificates=known) == "forged-list"
    assert refusal(check_list, manifest, entry_of(crl7 := crl(7), 8), crl7, None) == "forged-list"
    assert refusal(check_list, manifest, entry_of(delta, 8), delta, None) == "forged-list", (
        "a delta is no complete list"
    )
    assert refusal(check_list, manifest, entry_of(b"noise", 8), b"noise", None) == "forged-list"


def test_refusals_say_why_and_what_to_do() -> None:
    with pytest.raises(BadRequest) as caught:
        opened(SIGNED, [WORLD.root], held=Held(101, "1" * 64))
    assert "100" in caught.value.message
    assert "101" in caught.value.message
    with pytest.raises(BadRequest) as caught:
        opened(SIGNED, [WORLD.root], held=Held(100, "1" * 64))
    assert caught.value.hint
    assert STREAM in unverified(SIGNED).stream
