"""GnuTLS, as mail servers, LDAP and much of GNOME carry it: `certtool --verify` and its relations.

What operators have to know, established here for GnuTLS 3.7: it does not know the issuing distribution point, calls it
an unknown critical extension when it prints a list, and uses the list all the same. Of several lists of one issuer it
keeps one, the newest, and of equally new ones the last. And a certificate of which no list speaks is good. So it is
given the complete list of every CA, and no two CAs may have one name. All shards in one file, which OpenSSL and Java
take, let revoked certificates pass.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509

from ca.x509.revocation_list import RevocationReason
from tests import peer
from tests.peers.conftest import every_key_type
from tests.peers.material import AUTHORITIES, CLIENTS, NAMES, SERVERS, SHARDS, Leaf, Material, revoked_for

pytestmark = pytest.mark.peer("gnutls")

REVOKED = "The certificate chain is revoked."
EXPIRED = "The certificate chain uses expired certificate."
UNKNOWN_ISSUER = "The certificate issuer is unknown."
WRONG_PURPOSE = "The certificate chain does not match the intended purpose."
WRONG_NAME = "The name in the certificate does not match the expected."
SUPERSEDED = "The revocation or OCSP data are old and have been superseded."

SERVER_AUTH, CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"


def verify(material: Material, leaf: str | Leaf, crls: Path | None, *options: str) -> str | None:
    """Why `certtool --verify` refuses a leaf with its chain; None if it accepts it."""
    leaf = material[leaf] if isinstance(leaf, str) else leaf
    lists = () if crls is None else ("--load-crl", crls)
    trust = ("--load-ca-certificate", material.authority("root"))
    result = peer.run(peer.require("certtool"), "--verify", *trust, *lists, "--infile", leaf.chain, *options)
    return _verdict(result.returncode, result.stdout.decode(), "Chain verification output: ")


def verify_crl(authority: Path, crl: Path, *before: str) -> str | None:
    """Why `certtool --verify-crl` refuses a list; None if it accepts it."""
    argv = (*before, peer.require("certtool"), "--verify-crl", "--load-ca-certificate", authority, "--infile", crl)
    result = peer.run(*argv)
    return _verdict(result.returncode, result.stdout.decode(), "Verification output: ")


def _verdict(code: int, text: str, label: str) -> str | None:
    """What follows the label on the last line that has it, without what every refusal says."""
    said = text[text.rindex(label) + len(label) :].strip()
    if code == 0:
        assert said == "Verified. The certificate is trusted."
        return None
    return said.removeprefix("Not verified.").strip().removeprefix("The certificate is NOT trusted.").strip()


def join(path: Path, *parts: Path) -> Path:
    """One file with what several have, in this order."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@every_key_type
@pytest.mark.parametrize("profile", NAMES)
def test_a_valid_leaf_of_every_profile_is_accepted(material: Material, profile: str) -> None:
    """With the complete lists of all CAs."""
    assert verify(material, profile, material.complete_crls) is None


@every_key_type
@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revoked_leaf_is_refused(material: Material, reason: RevocationReason) -> None:
    """Whatever it was revoked for, by the complete lists and by the one shard that it names."""
    leaf = revoked_for(reason)
    assert verify(material, leaf, material.complete_crls) == REVOKED
    assert verify(material, leaf, material.shard_crl(material[leaf].shard)) == REVOKED


@every_key_type
def test_an_expired_leaf_is_refused(material: Material) -> None:
    """With lists and without."""
    assert verify(material, "expired", material.complete_crls) == EXPIRED
    assert verify(material, "expired", None) == EXPIRED


@every_key_type
def test_the_leaves_of_a_revoked_ca_are_refused(material: Material) -> None:
    """The root's list is looked at for every CA in the chain."""
    assert verify(material, "orphan", material.complete_crls) == REVOKED
    assert verify(material, "orphan", material.crl("fallen")) is None


@every_key_type
def test_strangers_are_refused(material: Material) -> None:
    """A CA with our names and other keys is not ours."""
    assert material.stranger is not None
    assert verify(material.stranger, "mesh", material.stranger.complete_crls) is None
    assert verify(material, material.stranger["mesh"], material.complete_crls) == UNKNOWN_ISSUER


def test_a_leaf_is_good_for_what_its_profile_says(material: Material) -> None:
    """TLS clients and TLS servers are not each other, unless the profile makes both."""
    for purpose, meant in ((CLIENT_AUTH, CLIENTS), (SERVER_AUTH, SERVERS)):
        found = {name: verify(material, name, None, f"--verify-purpose={purpose}") for name in NAMES}
        assert found == {name: None if name in meant else WRONG_PURPOSE for name in NAMES}


def test_names_match_as_they_should(material: Material) -> None:
    """Host names, wildcards one label deep, addresses, mail addresses; and nothing else."""
    for name in ("localhost", "db.eu.example.internal", "127.0.0.1", "::1"):
        assert verify(material, "server", None, f"--verify-hostname={name}") is None
    assert verify(material, "edge", None, "--verify-hostname=shop.edge.example.internal") is None
    assert verify(material, "client", None, "--verify-email=ada@example.internal") is None
    for name in ("example.internal", "127.0.0.2"):
        assert verify(material, "server", None, f"--verify-hostname={name}") == WRONG_NAME
    assert verify(material, "edge", None, "--verify-hostname=a.shop.edge.example.internal") == WRONG_NAME
    assert verify(material, "client", None, "--verify-email=eve@example.internal") == WRONG_NAME


@every_key_type
def test_every_list_verifies_under_its_own_ca(material: Material) -> None:
    """Shards, too; and under no other CA."""
    lists = {name: [material.crl(name)] for name in AUTHORITIES}
    lists["issuing"] += [material.shard_crl(number) for number in range(SHARDS)]
    for authority, paths in lists.items():
        sister = "fallen" if authority == "issuing" else "issuing"
        for path in paths:
            assert verify_crl(material.authority(authority), path) is None
            assert verify_crl(material.authority(sister), path) == UNKNOWN_ISSUER


def test_an_old_list_is_noticed_when_it_is_verified_itself(material: Material) -> None:
    """`--verify-crl` sees that a list has expired; `--verify` of a certificate does not look at the list's dates."""
    later = (peer.require("faketime"), "-f", "+73h")
    assert verify_crl(material.authority("issuing"), material.crl("issuing"), *later) == SUPERSEDED
    assert verify_crl(material.authority("issuing"), material.crl("issuing", past=True)) == SUPERSEDED
    assert verify(material, "mesh", material.crl("issuing", past=True)) is None


def test_a_whole_chain_can_come_with_its_root(material: Material, tmp_path: Path) -> None:
    """`--verify-chain` takes leaf, issuing CA and root from one file."""
    chain = join(tmp_path / "chain.pem", material["server"].chain, material.authority("root"))
    result = peer.run(peer.require("certtool"), "--verify-chain", "--infile", chain)
    assert _verdict(result.returncode, result.stdout.decode(), "Chain verification output: ") is None


def test_certificates_and_lists_are_read_alike(material: Material) -> None:
    """GnuTLS shows our serial numbers, the list's number and its entries; of the critical extensions it misses one."""
    certtool = peer.require("certtool")
    shown = peer.run(certtool, "-i", "--infile", material["mesh"].certificate).stdout.decode()
    assert _serials(shown) == {material["mesh"].parsed.serial_number}
    assert "Unknown extension" not in shown
    number = material["revoked"].shard
    crl = x509.load_pem_x509_crl(material.shard_crl(number).read_bytes())
    shown = peer.run(certtool, "--crl-info", "--infile", material.shard_crl(number)).stdout.decode()
    assert f"Revoked certificates ({len(crl)})" in shown
    assert _serials(shown) == {entry.serial_number for entry in crl}
    assert "Unknown extension 2.5.29.28 (critical)" in shown


def _serials(shown: str) -> set[int]:
    return {int(serial, 16) for serial in re.findall(r"Serial Number \(hex\): ([0-9a-f]+)", shown)}


def test_of_the_lists_of_one_issuer_only_the_last_is_kept(material: Material, tmp_path: Path) -> None:
    """That is why shards side by side do not do: whichever comes last, of equally new ones, decides for all."""
    right, wrong = material["revoked"].shard, (material["revoked"].shard + 1) % SHARDS
    shards = material.shard_crl(right), material.shard_crl(wrong)
    assert verify(material, "revoked", join(tmp_path / "wrong-right.pem", *reversed(shards))) == REVOKED
    assert verify(material, "revoked", join(tmp_path / "right-wrong.pem", *shards)) is None
    assert verify(material, "revoked", join(tmp_path / "wrong.pem", shards[1])) is None


@pytest.mark.xfail(strict=True, reason="GnuTLS 3.7 keeps one list of an issuer: it has to be given the complete one")
def test_shards_in_one_file_refuse_a_revoked_leaf(material: Material) -> None:
    """As OpenSSL and Java do with the same file, for leaves of every shard."""
    revoked = [revoked_for(reason) for reason in RevocationReason]
    assert len({material[leaf].shard for leaf in revoked}) > 1
    assert {verify(material, leaf, material.sharded_crls) for leaf in revoked} == {REVOKED}


@pytest.mark.xfail(strict=True, reason="GnuTLS 3.7 ignores the critical issuing distribution point (RFC 5280 5.2.5)")
def test_another_shard_is_no_evidence(material: Material) -> None:
    """A list with a critical extension that is not understood must not clear a certificate (RFC 5280 section 5.2)."""
    assert verify(material, "revoked", material.shard_crl((material["revoked"].shard + 1) % SHARDS)) is not None
