"""Java: PKIX path validation with revocation checking, trust managers as TLS uses them, and `keytool`.

`Validate.java` is started once for all cases. Java honours the issuing distribution point: a shard is evidence for the
certificates that name it, all shards may lie in one store, and whose status it cannot determine it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import enrolment, issuance
from ca.enrolment import Wish
from ca.keys.algorithms import KeyType
from ca.x509.bundle import pem_chain
from ca.x509.request import read_request
from ca.x509.revocation_list import RevocationReason
from tests import peer, rig
from tests.peers.conftest import KEY_TYPES, MakeMaterial
from tests.peers.material import CLIENTS, NAMES, SERVERS, SHARDS, Leaf, Material, revoked_for

pytestmark = pytest.mark.peer("java")

PASSWORD = "changeit"
VALIDATE = Path(__file__).with_name("Validate.java")
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""What makes a Java virtual machine that lives for a second or two start sooner."""

ACCEPTED = "accepted"
EXPIRED = "EXPIRED 0"
NO_ANCHOR = "NO_TRUST_ANCHOR -1"
UNDETERMINED = "UNDETERMINED_REVOCATION_STATUS 0"
UNDETERMINED_CA = "UNDETERMINED_REVOCATION_STATUS 1"
CA_REVOKED = "REVOKED 1 CA_COMPROMISE"


def revoked(reason: RevocationReason) -> str:
    """Java's verdict on a leaf that was revoked for a reason."""
    return f"REVOKED 0 {reason.name}"


def wrong_purpose(side: str) -> str:
    """Java's verdict on a leaf that is not for a TLS client, or not for a TLS server."""
    what = "Extended key usage does not permit use for TLS"
    return f"sun.security.validator.ValidatorException: {what} {side} authentication"


@dataclass(frozen=True)
class Case:
    """A leaf with its chain, the lists that are at hand, and what Java has to say."""

    leaf: Leaf
    lists: tuple[Path, ...]
    wanted: str
    kind: str = "path"
    at: datetime | None = None

    def line(self, name: str, anchors: Path) -> str:
        """The case as `Validate.java` reads it."""
        at = "-" if self.at is None else str(int(self.at.timestamp()))
        lists = ",".join(map(str, self.lists)) or "-"
        return "\t".join((name, self.kind, at, str(anchors), str(self.leaf.chain), lists))


def cases(material: Material) -> Iterator[tuple[str, Case]]:
    """Every case for the material of one key type, by name."""
    complete, sharded = (material.complete_crls,), (material.sharded_crls,)
    for profile in NAMES:
        yield f"{profile}, complete lists", Case(material[profile], complete, ACCEPTED)
        if profile != "ephemeral":
            yield f"{profile}, its own shard", Case(material[profile], _shard(material, profile), ACCEPTED)
            yield f"{profile}, all shards", Case(material[profile], sharded, ACCEPTED)
        for side, meant in (("client", CLIENTS), ("server", SERVERS)):
            wanted = ACCEPTED if profile in meant else wrong_purpose(side)
            lists = complete if profile == "ephemeral" else sharded
            yield f"{profile} as a TLS {side}", Case(material[profile], lists, wanted, side)
    for reason in RevocationReason:
        leaf, wanted = revoked_for(reason), revoked(reason)
        yield f"{leaf}, complete lists", Case(material[leaf], complete, wanted)
        yield f"{leaf}, its own shard", Case(material[leaf], _shard(material, leaf), wanted)
        yield f"{leaf}, all shards", Case(material[leaf], sharded, wanted)
    for side in ("client", "server"):
        key_compromise = revoked(RevocationReason.KEY_COMPROMISE)
        yield f"revoked as a TLS {side}", Case(material["revoked"], sharded, key_compromise, side)
        yield f"expired as a TLS {side}", Case(material["expired"], complete, EXPIRED, side)
    yield from _refusals(material)


def _refusals(material: Material) -> Iterator[tuple[str, Case]]:
    assert material.stranger is not None
    mesh, expired, stranger = material["mesh"], material["expired"], material.stranger
    complete, sharded = (material.complete_crls,), (material.sharded_crls,)
    past = (material.past_crls,)
    ends = expired.parsed.not_valid_after_utc
    yield "expired", Case(expired, complete, EXPIRED)
    yield "expired, in its last second", Case(expired, past, ACCEPTED, at=ends)
    yield "expired, a second later", Case(expired, past, EXPIRED, at=ends + timedelta(seconds=1))
    yield "a stranger's leaf", Case(stranger["mesh"], (stranger.complete_crls,), NO_ANCHOR)
    yield "a stranger's lists", Case(mesh, (stranger.complete_crls,), UNDETERMINED_CA)
    yield "no lists", Case(mesh, (), UNDETERMINED_CA)
    yield "the root's list alone", Case(mesh, (material.crl("root"),), UNDETERMINED)
    for leaf in ("mesh", "revoked"):
        for further in range(1, SHARDS):
            other = material.shard_crl((material[leaf].shard + further) % SHARDS)
            yield f"{leaf}, {further} shards further", Case(material[leaf], (material.crl("root"), other), UNDETERMINED)
    yield "ephemeral, all shards", Case(material["ephemeral"], sharded, UNDETERMINED)
    yield "the orphan, complete lists", Case(material["orphan"], complete, CA_REVOKED)
    yield "the orphan, all shards", Case(material["orphan"], sharded, CA_REVOKED)
    crl = x509.load_pem_x509_crl(material.crl("issuing").read_bytes())
    late, early = crl.next_update_utc, crl.last_update_utc
    yield "lists that are good until now", Case(material["server"], complete, ACCEPTED, at=late - timedelta(hours=1))
    yield "lists that have expired", Case(material["server"], complete, UNDETERMINED_CA, at=late + timedelta(hours=1))
    yield "old lists", Case(material["server"], past, UNDETERMINED_CA)
    yield "lists from the future", Case(material["orphan"], complete, UNDETERMINED_CA, at=early - timedelta(days=1))


def _shard(material: Material, leaf: str) -> tuple[Path, Path]:
    return material.crl("root"), material.shard_crl(material[leaf].shard)


@dataclass(frozen=True)
class Session:
    """What one run of Java said: the verdicts by key type and case, and its version."""

    version: int
    wanted: Mapping[str, str]
    said: Mapping[str, str]


@pytest.fixture(scope="session")
def session(material_of: MakeMaterial, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """All cases for all key types, in one Java virtual machine."""
    java, _ = peer.require("java"), peer.require("javac")  # a JRE alone runs no source file
    lines, wanted = [], {}
    for key_type in (*KEY_TYPES, KeyType.MLDSA65):
        material = material_of(key_type)
        for name, case in cases(material):
            label = f"{key_type}: {name}"
            assert label not in wanted, "two cases have one name"
            lines.append(case.line(label, material.authority("root")))
            wanted[label] = case.wanted
    file = tmp_path_factory.mktemp("java") / "cases"
    file.write_text("\n".join(lines))
    result = peer.run(java, *QUICK, VALIDATE, file, timeout=300)
    assert result.returncode == 0, result.stderr.decode()
    said = dict(line.split("\t") for line in result.stdout.decode().splitlines())
    return Session(int(said.pop("java")), wanted, said)


@pytest.mark.parametrize("key_type", KEY_TYPES)
def test_java_decides_as_it_should(session: Session, key_type: KeyType) -> None:
    """Valid leaves are accepted; revoked, expired, stranger's and undetermined ones refused, for the right reason."""
    _compare(session, key_type)


def test_ml_dsa_is_for_java_24_and_newer(session: Session) -> None:
    """Those decide on an ML-DSA hierarchy as on any; older ones accept nothing that they cannot verify."""
    if session.version >= 24:
        _compare(session, KeyType.MLDSA65)
    else:
        verdicts = {said for label, said in session.said.items() if label.startswith(KeyType.MLDSA65)}
        assert verdicts == {"UNSPECIFIED 1", NO_ANCHOR}


def _compare(session: Session, key_type: KeyType) -> None:
    wanted = {label: verdict for label, verdict in session.wanted.items() if label.startswith(f"{key_type}: ")}
    assert len(wanted) > 50
    assert {label: session.said.get(label) for label in wanted} == wanted


def keytool(*arguments: str | Path) -> str:
    """Run `keytool` and return what it says; it has to succeed."""
    result = peer.run(peer.require("keytool"), *(f"-J{option}" for option in QUICK), *arguments)
    text = (result.stdout + result.stderr).decode()
    assert result.returncode == 0, text
    return text


def test_keytool_prints_what_we_issue(material: Material) -> None:
    """Names, usages and pointers of a certificate; the entries of a list."""
    text = keytool("-printcert", "-file", material["mesh"].certificate)
    assert f"Serial number: {material['mesh'].issued.serial}" in text
    assert f"URIName: {rig.WORKLOAD}" in text
    assert f"URIName: {rig.PUBLIC_URL}/crl/issuing-2/{material['mesh'].shard}.crl" in text
    assert "serverAuth" in text
    assert "weak" not in text.lower()
    text = keytool("-printcrl", "-file", material.crl("issuing"))
    serials = [material[revoked_for(reason)].parsed.serial_number for reason in RevocationReason]
    assert all(f"SerialNumber: {serial.to_bytes(serial.bit_length() // 8 + 1).hex(':')} " in text for serial in serials)
    assert "weak" not in text.lower()


def test_a_trust_store_and_a_key_store_made_with_keytool(material: Material, tmp_path: Path) -> None:
    """The root goes into a PKCS #12 trust store; a key made by keytool gets its certificate by CSR, chain and all."""
    trust, keys, csr, chain = (tmp_path / name for name in ("trust.p12", "keys.p12", "request.pem", "chain.pem"))
    store = ("-storetype", "PKCS12", "-storepass", PASSWORD, "-noprompt")
    keytool("-importcert", "-alias", "root", "-file", material.authority("root"), "-keystore", trust, *store)
    generate = ("-genkeypair", "-alias", "server", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost")
    keytool(*generate, "-keystore", keys, *store)
    keytool("-certreq", "-alias", "server", "-ext", "san=dns:localhost", "-file", csr, "-keystore", keys, *store)
    request = read_request(csr.read_bytes())
    decision = enrolment.authorise_issue(material.installation, rig.OPERATOR, "server", request, Wish())
    issued = issuance.issue(decision, material.installation)
    chain.write_text(pem_chain([issued.certificate, *issued.chain, _root(material)]))
    said = keytool("-importcert", "-alias", "server", "-file", chain, "-keystore", keys, *store)
    assert "Certificate reply was installed in keystore" in said
    listed = keytool("-list", "-v", "-keystore", keys, *store)
    assert "Certificate chain length: 3" in listed
    assert f"Serial number: {issued.serial}" in listed
    leaf = Leaf("keytool", tmp_path, issued)
    leaf.chain.write_text(pem_chain([issued.certificate, *issued.chain]))
    file = tmp_path / "cases"
    served = Case(leaf, (material.sharded_crls,), ACCEPTED, "server").line("served", trust)
    stranger = Case(material.stranger["server"], (material.sharded_crls,), NO_ANCHOR, "server").line("stranger", trust)
    file.write_text(f"{served}\n{stranger}\n")
    result = peer.run(peer.require("java"), *QUICK, VALIDATE, file, timeout=300)
    assert result.stdout.decode().splitlines()[1:] == [f"served\t{ACCEPTED}", f"stranger\t{NO_ANCHOR}"]


def _root(material: Material) -> bytes:
    return material.installation.authorities.get("root-1").certificate
