"""`certwright bundle verify`, run as a user does, on a directory with nothing but files: no installation, no server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import clock
from ca.publication.manifest import Entry, Item, ListEntry, ListKind, Manifest, Previous
from ca.x509.bundle import pem_certificate, pem_crl
from tests import rig
from tests.ca.publishing import DOMAIN, STREAM, Node, World, make_leaf, make_manifest, make_world
from tests.pki.conftest import Warm

CRLS = f"crl:{DOMAIN}"
WORLD = make_world()


def crl(number: int, issuer: Node = WORLD.issuing, *, base: int | None = None, shard: int | None = None) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(clock.now() - timedelta(minutes=1))
        .next_update(clock.now() + timedelta(days=1))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    if base is not None:
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
    if shard is not None:
        uri = x509.UniformResourceIdentifier(f"http://ca.example.internal/crl/issuing-1/{shard}.crl")
        point = x509.IssuingDistributionPoint([uri], None, False, False, None, False, False)
        builder = builder.add_extension(point, critical=True)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)  # type: ignore[arg-type]


def listed(der: bytes, authority: str, kind: ListKind, number: int, shard: int = -1) -> ListEntry:
    now = clock.timestamp()
    return ListEntry(authority, shard, kind, number, now - 60, now + 86400, sha256(der).hexdigest(), len(der))


@dataclass
class Consumer:
    """A directory as a consumer has it, and the command in it."""

    directory: Path
    warm: Warm
    world: World = WORLD

    def put(self, name: str, content: bytes) -> Path:
        (self.directory / name).write_bytes(content)
        return self.directory / name

    def publish(self, manifest: Manifest, name: str = "trust.jws") -> None:
        self.put(name, self.world.sign(manifest))

    def verify(self, *argv: str | Path, code: int = 0) -> tuple[str, str]:
        done = self.warm.run("bundle", "verify", *argv, "--root", "root.pem", cwd=self.directory)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def json(self, *argv: str | Path) -> Any:
        return json.loads(self.verify(*argv, "--json")[0])

    def refused(self, *argv: str | Path) -> str:
        """The code of a refusal: in JSON, and for people with its reason in a line and at most a hint behind it."""
        out, text = self.verify(*argv, code=1)
        reason, *hint = text.strip().splitlines()
        assert (out, reason.startswith("refused: ")) == ("", True)
        assert [line.startswith("hint: ") for line in hint] in ([], [True])
        return str(json.loads(self.verify(*argv, "--json", code=1)[1])["code"])

    @property
    def memory(self) -> Any:
        return json.loads((self.directory / "held.json").read_text())


BUNDLE = pem_certificate(WORLD.root.der).encode()


def trust(version: int, **changes: Any) -> Manifest:
    return make_manifest(
        version,
        anchors=[Entry("root-1", WORLD.root.der)],
        authorities=[Entry("issuing-1", WORLD.issuing.der)],
        items=[Item("bundle.pem", sha256(BUNDLE).hexdigest(), len(BUNDLE))],
        **changes,
    )


@pytest.fixture
def consumer(tmp_path: Path, warm: Warm) -> Consumer:
    made = Consumer(tmp_path, warm)
    made.put("root.pem", BUNDLE)
    made.put("bundle.pem", BUNDLE)
    made.publish(trust(100))
    return made


def test_what_was_published_is_shown(consumer: Consumer) -> None:
    """For people and for programs."""
    manifest = trust(100)
    found = consumer.json("trust.jws", "bundle.pem")
    assert (found["stream"], found["version"], found["held_before"]) == (STREAM, 100, None)
    assert found["anchors"] == [{"name": "root-1", "sha256": manifest.anchors[0].sha256}]
    assert found["checked"] == [{"file": "bundle.pem", "is": ["bundle.pem of version 100"]}]
    out, _ = consumer.verify("trust.jws", "bundle.pem")
    assert "root-1" in out
    assert "version" in out
    assert not (consumer.directory / "held.json").exists()


def test_what_is_wrong_is_refused_with_the_reason(consumer: Consumer) -> None:
    """Truncated, changed, signed by another, expired, of another stream, another file."""
    signed = (consumer.directory / "trust.jws").read_bytes()
    consumer.put("cut.jws", signed[:-100])
    assert consumer.refused("cut.jws") == "bad-manifest"
    consumer.put("bundle.pem", BUNDLE[:-200])
    assert consumer.refused("trust.jws", "bundle.pem") == "changed-file"
    consumer.put("other.pem", BUNDLE)
    assert consumer.refused("trust.jws", "other.pem") == "missing-file"
    assert consumer.refused("trust.jws", "--stream", CRLS) == "wrong-stream"
    assert consumer.refused("trust.jws", "--trust-domain", "other.internal") == "untrusted-manifest"
    consumer.verify("trust.jws", "--stream", STREAM, "--trust-domain", DOMAIN)
    now = clock.timestamp()
    consumer.publish(trust(101, issued_at=now - 99, expires_at=now - 9), "old.jws")
    assert consumer.refused("old.jws") == "expired-manifest"
    workload = make_leaf(WORLD.issuing, rig.WORKLOAD)
    consumer.put("mesh.jws", replace(WORLD, leaf=workload).sign(trust(102)))
    assert consumer.refused("mesh.jws") == "untrusted-manifest"
    consumer.put("root.pem", pem_certificate(make_world(rig.KeyType.P384).root.der).encode())
    assert consumer.refused("trust.jws") == "untrusted-manifest"
    consumer.put("root.pem", b"nothing")
    assert consumer.refused("trust.jws") == "bad-certificate"
    assert consumer.refused("trust.jws", "nowhere.pem") in {"bad-certificate", "file"}


def test_a_replay_is_found_by_who_remembers(consumer: Consumer) -> None:
    """What was accepted is remembered only when asked, and never for something that was refused."""
    first = trust(100)
    consumer.publish(first)
    consumer.publish(trust(200, previous=Previous(100, first.sha256)), "new.jws")  # of this one: times are in it
    held = ("--held", "held.json")
    assert consumer.refused("trust.jws", *held) == "file", "a memory that is not there is not an empty one"
    assert consumer.json("trust.jws", *held, "--update")["updated"] is True
    assert consumer.memory["versions"][STREAM]["version"] == 100
    assert consumer.json("new.jws", *held)["held_before"] == 100
    assert consumer.memory["versions"][STREAM]["version"] == 100
    consumer.put("bundle.pem", b"changed")
    assert consumer.refused("new.jws", "bundle.pem", *held, "--update") == "changed-file"
    assert consumer.memory["versions"][STREAM]["version"] == 100
    consumer.verify("new.jws", *held, "--update")
    assert consumer.refused("trust.jws", *held, "--update") == "replayed-manifest"
    consumer.publish(trust(200), "fork.jws")
    assert consumer.refused("fork.jws", *held, "--update") == "forked-manifest"
    assert consumer.memory["versions"][STREAM]["version"] == 200
    for damage in (b"{}", b"[1]", b'{"versions":{"a":1},"numbers":{}}', b'{"versions":{},"numbers":{},"more":1}'):
        consumer.put("held.json", damage)
        assert consumer.refused("trust.jws", *held) == "bad-held"


def test_another_trust_domains_stream_is_remembered_apart(consumer: Consumer) -> None:
    """We publish its anchors beside its own publisher: two sequences of versions."""
    consumer.publish(trust(300, stream="trust:other.internal"), "other.jws")
    consumer.verify("other.jws", "--held", "held.json", "--update")
    assert consumer.json("trust.jws", "--held", "held.json", "--update")["held_before"] is None
    assert set(consumer.memory["versions"]) == {STREAM, f"trust:other.internal by {DOMAIN}"}
    assert consumer.json("other.jws", "--held", "held.json")["held_before"] == 300


def test_lists_are_found_by_their_bytes_or_their_names(consumer: Consumer) -> None:
    """DER under their names, PEM in one file; older ones, shorter files and other lists are told apart."""
    complete, root, delta, shard = crl(7), crl(5, WORLD.root), crl(8, base=7), crl(4, shard=3)
    lists = [
        listed(complete, "issuing-1", ListKind.COMPLETE, 7),
        listed(root, "root-1", ListKind.COMPLETE, 5),
        listed(delta, "issuing-1", ListKind.DELTA, 8),
        listed(shard, "issuing-1", ListKind.SHARD, 4, 3),
    ]
    now = clock.timestamp()
    manifest = Manifest(CRLS, DOMAIN, 100, None, now, now + 999, lists=lists)
    consumer.publish(manifest, "crl.jws")
    files = {"issuing-1.crl": complete, "root-1.crl": root, "issuing-1.delta.crl": delta, "issuing-1.3.crl": shard}
    for name, der in files.items():
        consumer.put(name, der)
    pem = "".join(map(pem_crl, (complete, root))).encode()
    consumer.put("crl.pem", pem)
    consumer.put("saved-as", complete)
    found = consumer.json("crl.jws", *files, "crl.pem", "saved-as", "--held", "held.json", "--update")
    said = {one["file"]: one["is"] for one in found["checked"]}
    assert said["issuing-1.3.crl"] == ["issuing-1/3 number 4"]
    assert said["crl.pem"] == ["issuing-1/complete number 7", "root-1/complete number 5"]
    assert said["saved-as"] == ["issuing-1/complete number 7"]
    assert consumer.memory["numbers"][CRLS]["issuing-1/delta"] == 8

    damages: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
        "an older one": ("issuing-1.crl", lambda _: crl(6), "older-list"),
        "cut off": ("issuing-1.crl", lambda der: der[:-9], "changed-list"),
        "another": ("issuing-1.crl", lambda _: crl(9), "changed-list"),
        "an older delta": ("issuing-1.delta.crl", lambda _: crl(7, base=6), "older-list"),
        "an older shard by its kind": ("saved-as", lambda _: crl(3, shard=3), "older-list"),
        "PEM that is cut off": ("crl.pem", lambda text: text[:-99], "changed-list"),
        "PEM without one": ("crl.pem", lambda _: pem_crl(complete).encode(), "missing-list"),
        "PEM with an older one": ("crl.pem", lambda _: (pem_crl(crl(6)) + pem_crl(root)).encode(), "changed-list"),
        "no list": ("issuing-1.crl", lambda _: b"", "changed-list"),
    }
    for what, (name, damage, code) in damages.items():
        before = (consumer.directory / name).read_bytes()
        consumer.put(name, damage(before))
        assert consumer.refused("crl.jws", name) == code, what
        consumer.put(name, before)

    lower = replace(lists[0], number=6)
    consumer.publish(
        replace(manifest, version=101, previous=Previous(100, manifest.sha256), lists=[lower]), "lower.jws"
    )
    assert consumer.refused("lower.jws", "--held", "held.json") == "older-list"


def test_wrong_usage(consumer: Consumer) -> None:
    """Which root, and what remembers, has to be said."""
    done = consumer.warm.run("bundle", "verify", "trust.jws", cwd=consumer.directory)
    assert done.returncode == 2
    assert "--root" in done.stderr
    assert "--held" in consumer.verify("trust.jws", "--update", code=2)[1]
