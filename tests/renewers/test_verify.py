"""What counts as seen: the right certificate, its whole chain, trusted by its own users, several times in a row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca import clock
from ca.errors import BadRequest, NotDelivered
from ca.issuance import Issued
from ca.keys.algorithms import KeyType, PrivateKey
from ca.store import open_store
from ca.x509.bundle import pem_chain
from renewers.delivering import verify
from renewers.delivering.verify import Expected, distrust, look_at, read_bundle, read_probe
from renewers.handshake import Presented
from tests import rig

LOOKS = Callable[[list[Sequence[bytes] | None]], list[int]]


class World:
    """Certificates of one installation."""

    def __init__(self, directory: Path, key_type: KeyType) -> None:
        self.store = open_store(f"sqlite:///{directory}/certwright.db")
        self.installation = rig.make_installation(self.store, key_type=key_type)
        self.root = self.installation.authorities.get("root-1").certificate
        self.server = rig.issue(self.installation, "localhost", "127.0.0.1", profile="server")
        self.wildcard = rig.issue(self.installation, "*.edge.example.internal", profile="edge")
        self.workload = rig.issue(self.installation, rig.WORKLOAD)
        self.old = rig.issue(self.installation, "localhost", profile="server")


def chain(issued: Issued) -> tuple[bytes, ...]:
    """What is served of it."""
    return issued.certificate, *issued.chain


def expected(issued: Issued, old: Issued | None = None) -> Expected:
    """What is to be seen."""
    before = sha256(old.certificate).hexdigest() if old is not None else None
    return Expected(sha256(issued.certificate).hexdigest(), issued.chain, before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The usual one, P-256."""
    made = World(tmp_path_factory.mktemp("world"), KeyType.P256)
    yield made
    made.store.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> LOOKS:
    """Have the endpoint show these chains (None: it refuses), the last one for ever; returns a counter of looks."""

    def prepare(shown: list[Sequence[bytes] | None]) -> list[int]:
        count = [0]

        def look(host: str, port: int, **_named: object) -> Presented:
            count[0] += 1
            found = shown.pop(0) if len(shown) > 1 else shown[0]
            if found is None:
                raise NotDelivered(f"{host}:{port} refuses the connection", code="refused")
            return Presented(tuple(found), "TLSv1.3", "127.0.0.1")

        monkeypatch.setattr(verify.handshake, "look", look)
        monkeypatch.setattr(verify, "PAUSE", 0.001)
        monkeypatch.setattr(verify, "PATIENCE", 0.02)
        return count

    return prepare


def test_it_is_seen_several_times_in_a_row(world: World, looks: LOOKS) -> None:
    """One sight of the new one between two of the old one proves nothing: workers overlap."""
    old, new = chain(world.old), chain(world.server)
    count = looks([old, new, old, new, new, None, new, new, new])
    look_at("a.example:443", expected(world.server, world.old), patience=5)
    assert count == [9]


def test_what_never_comes_is_said_plainly(world: World, looks: LOOKS) -> None:
    """The old one, another one, or nobody; after the patience and not before."""
    new = expected(world.server, world.old)
    for shown, code, words in (
        (chain(world.old), "serves-old", "a.example:443 still serves the old one"),
        (chain(world.workload), "serves-another", "a.example:443 serves another certificate: sha256 "),
        (None, "refused", "refuses the connection"),
    ):
        looks([shown])
        began = time.monotonic()
        with pytest.raises(NotDelivered, match=words) as caught:
            look_at("a.example:443", new, patience=0.1)
        assert caught.value.code == code
        assert 0.1 <= time.monotonic() - began < 20


def test_the_chain_is_the_one_that_was_delivered(world: World, looks: LOOKS) -> None:
    """Nothing missing, nothing else, in order; a root at the end does no harm. Said at once: waiting mends nothing."""
    leaf, issuing = chain(world.server)
    wrong = {
        "chain-incomplete": [(leaf,), (leaf, world.root), (leaf, world.old.certificate)],
        "wrong-chain": [(leaf, world.old.certificate, issuing), (leaf, issuing, issuing), (leaf, issuing, b"junk")],
    }
    for code, chains in wrong.items():
        for shown in chains:
            count = looks([shown])
            with pytest.raises(NotDelivered) as caught:
                look_at("a.example:443", expected(world.server), patience=60)
            assert (caught.value.code, count) == (code, [1])
    looks([(leaf, issuing, world.root)])
    look_at("a.example:443", expected(world.server))


def test_two_above_it_have_an_order(world: World, looks: LOOKS) -> None:
    """The one that signed comes before the one that signed that."""
    leaf, issuing = chain(world.server)
    wanted = Expected(sha256(leaf).hexdigest(), (issuing, world.old.certificate))
    looks([(leaf, world.old.certificate, issuing)])
    with pytest.raises(NotDelivered, match="another order"):
        look_at("a.example:443", wanted)


def test_its_own_users_have_to_trust_it(world: World, looks: LOOKS, tmp_path: Path) -> None:
    """Against the destination's own bundle, for the name under which it is asked."""
    looks([chain(world.server)])
    look_at("a.example:443#localhost", expected(world.server), roots=[world.root])
    for probe, roots, words in (
        ("a.example:443", [world.old.certificate], "do not trust this chain"),
        ("a.example:443", [], "its bundle is empty"),
        ("a.example:443#elsewhere.example", [world.root], "do not trust this chain"),
    ):
        with pytest.raises(NotDelivered, match=words) as caught:
            look_at(probe, expected(world.server), roots=roots, patience=60)
        assert caught.value.code == "not-trusted"


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.ED25519, KeyType.MLDSA65])
def test_trust_is_judged_whatever_a_ca_signs_with(key_type: KeyType, tmp_path: Path) -> None:
    """Also Ed25519, which the rules of the web do not know; what is wrong with one is wrong with all."""
    world = World(tmp_path, key_type)
    for issued in (world.server, world.wildcard, world.workload):
        assert distrust(chain(issued), [world.root], None) is None
        assert distrust(chain(issued)[:1], [world.root], None) is not None
        assert distrust(chain(issued), [world.old.certificate], None) is not None
        assert distrust(chain(issued), [], None) == "its bundle is empty"
        assert distrust((issued.certificate, world.root), [world.root], None) is not None
        ended = rig.parsed(issued).not_valid_after_utc + timedelta(seconds=1)
        for moment in (clock.now() - timedelta(days=1), ended, clock.now() + timedelta(days=9000)):
            with clock.pinned(moment):
                assert distrust(chain(issued), [world.root], None) is not None
    pair = rig.issue_pairs(world.installation, 1, "localhost", profile="server")[0]
    forged = (_signed_by_a_leaf(rig.parsed(pair.issued), pair.key), *chain(pair.issued))
    assert distrust(forged, [world.root], None) is not None
    world.store.close()


def _signed_by_a_leaf(leaf: x509.Certificate, key: PrivateKey) -> bytes:
    """A certificate that would be good if a leaf were a CA."""
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(leaf.subject).serial_number(7)
    builder = builder.not_valid_before(clock.now()).not_valid_after(clock.now() + timedelta(hours=1))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    builder = builder.public_key(rig.pooled_key().public_key()).add_extension(names, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    return builder.add_extension(above, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_it_is_judged_for_the_name_that_is_asked(world: World) -> None:
    """A wildcard's for one beneath it, an address for that address."""
    for issued, good, bad in (
        (world.server, ["localhost", "127.0.0.1"], ["other", "127.0.0.2"]),
        (world.wildcard, ["shop.edge.example.internal"], ["edge.example.internal", "a.b.edge.example.internal"]),
    ):
        assert [distrust(chain(issued), [world.root], name) for name in good] == [None] * len(good)
        assert all(distrust(chain(issued), [world.root], name) for name in bad)


@given(junk=st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_junk_is_never_trusted(junk: list[bytes]) -> None:
    """Whatever bytes are shown or stand in a bundle, there is a reason and no crash."""
    assert distrust(junk, [b"\x30\x00"], None) is not None


PROBES = {
    "api.example:443": ("tls", "api.example", 443, None),
    "api.example:8443#www.example": ("tls", "api.example", 8443, "www.example"),
    "smtp://mail.example:25#mx.example": ("smtp", "mail.example", 25, "mx.example"),
    "imap://mail.example:143": ("imap", "mail.example", 143, None),
    "postgresql://db.example:5432": ("postgresql", "db.example", 5432, None),
    "[::1]:443": ("tls", "::1", 443, None),
    "127.0.0.1:443#localhost": ("tls", "127.0.0.1", 443, "localhost"),
}


@pytest.mark.parametrize("text", PROBES)
def test_a_probe_says_where_to_look(text: str) -> None:
    """Host, port, protocol, and the name under which the server is asked."""
    found = read_probe(text)
    assert (found.protocol, found.host, found.port, found.server_name) == PROBES[text]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "a.example:0", "a.example:65536", "a.example:x", "ftp://a.example:21", "http://a.example/", "a b:1"),
        *(
            "10.0.0.0/24:443",
            "a.example:443-444",
            "a.example:443,444",
            "a.example:443 b.example:443",
            "[::1",
            "a\n:443",
        ),
        *("-a.example:443", "a.example:443#b c", "a.example:443#$(id)", "224.0.0.1:443", "169.254.169.254:80"),
    ],
)
def test_what_is_no_single_place_is_refused(text: str) -> None:
    """Neither several, nor none, nor one that no host has."""
    with pytest.raises(BadRequest) as caught:
        read_probe(text)
    assert caught.value.code == "bad-probe"


def test_a_bundle_is_a_file_of_certificates(world: World, tmp_path: Path) -> None:
    """Anything else is said: missing, empty, junk, too large, a directory, a device; nothing hangs."""
    good = tmp_path / "good.pem"
    good.write_text(f"# ours\n{pem_chain([world.root, *world.server.chain])}")
    assert read_bundle(str(good)) == [world.root, *world.server.chain]
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "junk").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "huge").write_bytes(good.read_bytes() * 2000)
    for name in ("missing", "fifo", "empty", "junk", "huge", "."):
        with pytest.raises(NotDelivered, match="the bundle"):
            read_bundle(str(tmp_path / name))
