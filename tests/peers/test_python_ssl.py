"""Python's `ssl`: mutual TLS, both sides with strict checks and the CRLs of the whole chain, TLS 1.2 and 1.3.

The handshakes are made in memory, so that what each side says is known to the last message; the last test knocks at
the demo's gateway, on a socket. Python is OpenSSL: all shards and the root's list may lie in one file.
"""

from __future__ import annotations

import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ca.keys.algorithms import KeyType
from ca.x509.revocation_list import RevocationReason
from pki.demo.gateway import Gateway, knock
from tests import peer, rig
from tests.peers.conftest import every_key_type
from tests.peers.material import CLIENTS, NAMES, SERVERS, SHARDS, Leaf, Material, made, revoked_for

pytestmark = pytest.mark.peer("python")

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
every_version = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)

NAME_OF = {
    "device": "sensor-17.devices.example.internal",
    "edge": "shop.edge.example.internal",
    "mesh": "api.payments.svc.example.internal",
    "server": "db.eu.example.internal",
}
"""What a client calls a server; one without a DNS name is known by its SPIFFE ID."""


@dataclass(frozen=True)
class Outcome:
    """What became of a handshake: the version, what each side knows of the other, or why one of them hung up."""

    version: str | None = None
    client: frozenset[str] = frozenset()
    server: frozenset[str] = frozenset()
    refused_by: str | None = None
    because: str | None = None


def context(material: Material, leaf: Leaf | None, crls: Path | None, *, is_server: bool) -> ssl.SSLContext:
    """One side: it trusts the root alone, is strict, and checks the lists of the whole chain, if it has any."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(material.authority("root"))
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    if crls is not None:
        made.load_verify_locations(crls)
        made.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    if leaf is not None:
        made.load_cert_chain(leaf.chain, leaf.key)
    return made


def shake(client: ssl.SSLContext, server: ssl.SSLContext, version: ssl.TLSVersion, name: str | None) -> Outcome:
    """A handshake in memory; a client without a name for the server looks at its certificate itself."""
    client.minimum_version = client.maximum_version = version
    client.check_hostname = name is not None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {
        "client": client.wrap_bio(to_client, to_server, server_hostname=name),
        "server": server.wrap_bio(to_server, to_client, server_side=True),
    }
    done: set[str] = set()
    for _ in range(10):
        for side, end in ends.items():
            try:
                end.do_handshake() if side not in done else end.read(1)
                done.add(side)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return Outcome(refused_by=side, because=error.verify_message)
            except ssl.SSLError as error:
                return Outcome(refused_by=side, because=error.reason)
    assert done == set(ends), "the handshake does not end"
    return Outcome(ends["client"].version(), _names(ends["server"]), _names(ends["client"]))


def _names(end: ssl.SSLObject) -> frozenset[str]:
    """The alternative names in the certificate of the other side."""
    certificate = end.getpeercert() or {}
    return frozenset(value for _, value in certificate.get("subjectAltName", ()))


def meet(material: Material, client: Leaf | None, server: Leaf, version: ssl.TLSVersion, crls: Path | None) -> Outcome:
    """Two leaves meet, both sides strict, with the same lists; the server is called by its name if it has one."""
    ends = context(material, client, crls, is_server=False), context(material, server, crls, is_server=True)
    return shake(*ends, version, NAME_OF.get(server.name))


def lists(material: Material, profile: str) -> tuple[Path, ...]:
    """What checks a leaf: complete lists, and shards unless it names none."""
    return (material.complete_crls,) if profile == "ephemeral" else (material.complete_crls, material.sharded_crls)


@every_version
@every_key_type
def test_valid_ones_meet(material: Material, version: ssl.TLSVersion) -> None:
    """Every client profile with a mesh server, every server profile with a mesh client, with either kind of lists."""
    pairs = [*((client, "mesh") for client in CLIENTS), *(("mesh", server) for server in SERVERS)]
    wanted = version.name.replace("_", ".")
    for client, server in pairs:
        for crls in lists(material, "ephemeral" if "ephemeral" in (client, server) else "mesh"):
            outcome = meet(material, material[client], material[server], version, crls)
            assert (outcome.version, outcome.because) == (wanted, None), (client, server, crls.name)
            assert outcome.client == _shown(client)
            assert outcome.server == _shown(server)


def _shown(profile: str) -> frozenset[str]:
    """The names of a leaf as Python shows them."""
    return frozenset("0:0:0:0:0:0:0:1" if name == "::1" else name for name in NAMES[profile])


@every_version
@every_key_type
@pytest.mark.parametrize("kind", ["complete", "sharded"])
def test_revoked_ones_are_refused_by_either_side(material: Material, version: ssl.TLSVersion, kind: str) -> None:
    """For every reason, and so are the orphans of a revoked CA."""
    crls = material.complete_crls if kind == "complete" else material.sharded_crls
    mesh = material["mesh"]
    for leaf in (material[name] for name in ("orphan", *(revoked_for(reason) for reason in RevocationReason))):
        assert meet(material, leaf, mesh, version, crls) == REFUSED_CLIENT, leaf.name
        assert meet(material, mesh, leaf, version, crls) == REFUSED_SERVER, leaf.name


REFUSED_CLIENT = Outcome(refused_by="server", because="certificate revoked")
REFUSED_SERVER = Outcome(refused_by="client", because="certificate revoked")


@every_version
@every_key_type
def test_others_are_refused_by_either_side(material: Material, version: ssl.TLSVersion) -> None:
    """Expired ones, strangers, those with another purpose, and clients without a certificate."""
    assert material.stranger is not None
    mesh, crls = material["mesh"], material.complete_crls
    wrong = {
        "certificate has expired": (material["expired"], material["expired"]),
        "unable to get local issuer certificate": (material.stranger["mesh"], material.stranger["mesh"]),
        "certificate purpose": (material["server"], material["client"]),
    }
    for why, (as_client, as_server) in wrong.items():
        outcomes = meet(material, as_client, mesh, version, crls), meet(material, mesh, as_server, version, crls)
        assert [outcome.refused_by for outcome in outcomes] == ["server", "client"], why
        assert [str(outcome.because)[-len(why) :] for outcome in outcomes] == [why, why]
    nobody = meet(material, None, mesh, version, crls)
    assert nobody == Outcome(refused_by="server", because="PEER_DID_NOT_RETURN_A_CERTIFICATE")


@every_version
def test_without_the_right_list_everybody_is_refused(material: Material, version: ssl.TLSVersion) -> None:
    """No list, the issuing CA's without the root's, old ones, a stranger's, another shard: none clears anybody."""
    mesh = material["mesh"]
    other = material.shard_crl((mesh.shard + 1) % SHARDS)
    wrong = {
        material.authority("root"): "unable to get certificate CRL",  # no list at all
        material.crl("issuing"): "unable to get certificate CRL",
        material.crl("issuing", past=True): "CRL has expired",
        material.stranger.complete_crls: "unable to get certificate CRL",
        other: "different CRL scope",
    }
    for crls, why in wrong.items():
        server = context(material, mesh, crls, is_server=True)
        outcome = shake(context(material, mesh, None, is_server=False), server, version, None)
        assert outcome == Outcome(refused_by="server", because=why), crls.name


@every_version
def test_a_server_is_known_by_its_names(material: Material, version: ssl.TLSVersion) -> None:
    """By DNS names, wildcards one label deep, and addresses; and by no other."""
    client, crls = context(material, material["mesh"], material.complete_crls, is_server=False), material.complete_crls
    good = {
        "server": ("localhost", "db.eu.example.internal", "127.0.0.1", "::1"),
        "edge": ("shop.edge.example.internal", "10.0.0.7"),
    }
    bad = {
        "server": ("example.internal", "127.0.0.2"),
        "edge": ("a.shop.edge.example.internal", "edge.example.internal"),
    }
    for leaf, names in good.items():
        server = context(material, material[leaf], crls, is_server=True)
        assert {shake(client, server, version, name).because for name in names} == {None}
    for leaf, names in bad.items():
        server = context(material, material[leaf], crls, is_server=True)
        for name in names:
            outcome = shake(client, server, version, name)
            assert (outcome.refused_by, "mismatch" in str(outcome.because)) == ("client", True), name


@every_version
def test_workloads_know_each_other_by_spiffe_id(material: Material, version: ssl.TLSVersion) -> None:
    """A mesh and an ephemeral workload, without a subject, each read the other's identity, whoever of them serves."""
    api, job = {rig.WORKLOAD, *NAMES["mesh"]}, set(NAMES["ephemeral"])
    meeting = meet(material, material["ephemeral"], material["mesh"], version, material.complete_crls)
    assert (meeting.client, meeting.server) == (job, api)
    meeting = meet(material, material["mesh"], material["ephemeral"], version, material.complete_crls)
    assert (meeting.client, meeting.server) == (api, job)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Material, Gateway]]:
    """The demo's gateway on a loopback port, with material of its own that a test may change, and all shards."""
    with made(tmp_path / "material", KeyType.P256) as material:
        opened = Gateway(tmp_path / "trust", laid_out(tmp_path / "own", material["server"]))
        bring(material, opened)
        try:
            yield material, opened
        finally:
            opened.close()


def laid_out(directory: Path, leaf: Leaf) -> Path:
    """A leaf with its chain and its key, as a directory has them."""
    directory.mkdir(exist_ok=True)
    shutil.copyfile(leaf.chain, directory / "cert.pem")
    shutil.copyfile(leaf.key, directory / "key.pem")
    return directory


def bring(material: Material, to: Gateway) -> None:
    """Bring it root and lists as they are now, and tell it."""
    live = to.directory / "live"
    live.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(material.authority("root"), live / "bundle.pem")
    shutil.copyfile(material.sharded_crls, live / "crl.pem")
    time.sleep(0.02)  # two times of one file within a tick of the clock are one
    assert peer.run(*to.reload).returncode == 0


def test_the_gateway_refuses_whom_it_is_told_to_refuse(gateway: tuple[Material, Gateway], tmp_path: Path) -> None:
    """On a socket: valid ones in, revoked, expired and stranger's ones out; a new list counts when it is read."""
    material, at = gateway

    def knocks(leaf: Leaf) -> str | None:
        return knock(at.port, material.authority("root"), laid_out(tmp_path / "client", leaf))

    leaver = material.issue("leaver")
    assert [knocks(leaf) for leaf in (leaver, material["mesh"], material["client"])] == [None] * 3
    assert "revoked" in str(knocks(material["revoked"]))
    assert "expired" in str(knocks(material["expired"]))
    assert "unknown ca" in str(knocks(material.stranger["mesh"]))
    material.revoke("leaver")
    material.publish()
    assert knocks(leaver) is None
    bring(material, at)
    assert "revoked" in str(knocks(leaver))
    assert knocks(material["mesh"]) is None
