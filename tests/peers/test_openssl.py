"""OpenSSL, as every proxy, broker and scripting language carries it: `openssl verify` with the strict checks.

The chain is given as a server would get it: the root is trusted, the issuing CA comes along untrusted. OpenSSL honours
the issuing distribution point, so a shard is evidence for its own certificates alone; all shards may lie in one file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import clock
from ca.keys.algorithms import KeyType
from ca.x509.revocation_list import RevocationReason
from tests import peer
from tests.peers.conftest import MakeMaterial, every_key_type
from tests.peers.material import AUTHORITIES, CLIENTS, LONG_AGO, NAMES, SERVERS, SHARDS, Leaf, Material, revoked_for

pytestmark = pytest.mark.peer("openssl")

HOUR = timedelta(hours=1)

CRL_NOT_FOUND, CRL_NOT_YET_VALID, EXPIRED, CRL_EXPIRED, REVOKED, OTHER_SCOPE = 3, 11, 10, 12, 23, 44
NO_ISSUER, WRONG_PURPOSE, WRONG_HOST, WRONG_EMAIL, WRONG_IP = 20, 26, 62, 63, 64

_ERROR = re.compile(r"error (\d+) at (\d+) depth lookup: (.*)")


@dataclass(frozen=True)
class Finding:
    """One thing that OpenSSL has against a chain: the error's number, and how far above the leaf."""

    error: int
    depth: int


def verify(material: Material, leaf: str | Leaf, *options: str | Path) -> list[Finding]:
    """What `openssl verify -x509_strict` says against a leaf; nothing if it accepts it."""
    leaf = material[leaf] if isinstance(leaf, str) else leaf
    ca = ("-CAfile", material.authority("root"), "-untrusted", leaf.chain)
    result = peer.run(peer.require("openssl"), "verify", "-x509_strict", *ca, *options, leaf.certificate)
    text = (result.stdout + result.stderr).decode()
    found = [Finding(int(m[1]), int(m[2])) for m in _ERROR.finditer(text)]
    assert (result.returncode == 0) == (not found) == (f"{leaf.certificate}: OK" in text), text
    return found


def shard(material: Material, leaf: str) -> tuple[str | Path, ...]:
    """The options that check a leaf, and it alone, against the shard that it names."""
    return "-crl_check", "-CRLfile", material.shard_crl(material[leaf].shard)


def whole_chain(crls: Path) -> tuple[str | Path, ...]:
    """The options that check the whole chain against the CRLs of one file."""
    return "-crl_check", "-crl_check_all", "-CRLfile", crls


def at(moment: datetime) -> tuple[str, str]:
    """The options that verify as of another time."""
    return "-attime", str(int(moment.timestamp()))


@every_key_type
@pytest.mark.parametrize("profile", [name for name in NAMES if name != "ephemeral"])
def test_a_valid_leaf_of_every_profile_is_accepted(material: Material, profile: str) -> None:
    """With the shard that it names, with all shards and with the complete lists, the whole chain checked."""
    assert verify(material, profile, *shard(material, profile)) == []
    assert verify(material, profile, *whole_chain(material.sharded_crls)) == []
    assert verify(material, profile, *whole_chain(material.complete_crls)) == []


@every_key_type
def test_an_ephemeral_leaf_needs_no_crl(material: Material) -> None:
    """It verifies without; to those who check CRLs all the same the complete list is evidence, and a shard is not."""
    # OpenSSL 3.0 does not act on noRevAvail (RFC 9608), and a leaf that names no CRL is in no shard's scope.
    assert verify(material, "ephemeral") == []
    assert verify(material, "ephemeral", *whole_chain(material.complete_crls)) == []
    assert verify(material, "ephemeral", *whole_chain(material.sharded_crls)) == [Finding(OTHER_SCOPE, 0)]


@every_key_type
def test_an_ocsp_signer_is_accepted(material: Material) -> None:
    """It names no CRL, either, but nobody is asked to revoke it by one."""
    assert verify(material, "ocsp-signer") == []
    assert verify(material, "ocsp-signer", *whole_chain(material.complete_crls)) == []


@every_key_type
@pytest.mark.parametrize("reason", RevocationReason)
def test_a_revoked_leaf_is_refused(material: Material, reason: RevocationReason) -> None:
    """Whatever it was revoked for, by its shard and by the complete list; and it would be good without them."""
    leaf = revoked_for(reason)
    assert verify(material, leaf) == []
    assert verify(material, leaf, *shard(material, leaf)) == [Finding(REVOKED, 0)]
    assert verify(material, leaf, *whole_chain(material.sharded_crls)) == [Finding(REVOKED, 0)]
    assert verify(material, leaf, *whole_chain(material.complete_crls)) == [Finding(REVOKED, 0)]


@every_key_type
def test_no_other_shard_is_evidence(material: Material) -> None:
    """A shard that a leaf does not name neither clears nor convicts it: what is not known is refused."""
    for leaf in ("mesh", "revoked"):
        others = set(range(SHARDS)) - {material[leaf].shard}
        for number in others:
            found = verify(material, leaf, "-crl_check", "-CRLfile", material.shard_crl(number))
            assert found == [Finding(OTHER_SCOPE, 0)], f"{leaf} names shard {material[leaf].shard}, not {number}"


@every_key_type
def test_without_any_crl_a_leaf_is_refused(material: Material) -> None:
    """Who asks for revocation checks and brings no list is not told that all is well."""
    assert verify(material, "mesh", "-crl_check") == [Finding(CRL_NOT_FOUND, 0)]
    found = verify(material, "mesh", *whole_chain(material.crl("issuing")))
    assert found == [Finding(CRL_NOT_FOUND, 1)], "the root's list is missing, not the issuing CA's"


@every_key_type
def test_an_expired_leaf_is_refused(material: Material) -> None:
    """Today; in its own time, with the lists of that time, it was good to its last hour."""
    assert verify(material, "expired", *whole_chain(material.complete_crls)) == [Finding(EXPIRED, 0)]
    ends = material["expired"].parsed.not_valid_after_utc
    past = whole_chain(material.past_crls)
    assert verify(material, "expired", *past, *at(ends - timedelta(seconds=1))) == []
    assert verify(material, "expired", *past, *at(ends + timedelta(seconds=1))) == [Finding(EXPIRED, 0)]
    past_shard = material.shard_crl(material["expired"].shard, past=True)
    moment = at(clock.now() - LONG_AGO + timedelta(minutes=1))
    assert verify(material, "expired", "-crl_check", "-CRLfile", past_shard, *moment) == []


@every_key_type
def test_a_list_is_evidence_in_its_own_time_only(material: Material) -> None:
    """A list that has expired clears nobody, and one that is not yet valid does not, either."""
    path = material.shard_crl(material["server"].shard)
    later = at(x509.load_pem_x509_crl(path.read_bytes()).next_update_utc + HOUR)
    assert verify(material, "server", *later) == []
    assert verify(material, "server", *shard(material, "server"), *later) == [Finding(CRL_EXPIRED, 0)]
    stale = [Finding(CRL_EXPIRED, depth) for depth in range(3)]
    assert verify(material, "server", *whole_chain(material.complete_crls), *later) == stale
    begins = x509.load_pem_x509_crl(material.past_crls.read_bytes()).last_update_utc
    past = whole_chain(material.past_crls)
    assert verify(material, "orphan", *past, *at(begins)) == []  # its CA had not fallen yet
    early = [Finding(CRL_NOT_YET_VALID, depth) for depth in range(3)]
    assert verify(material, "orphan", *past, *at(begins - timedelta(seconds=1))) == early


@every_key_type
def test_the_leaves_of_a_revoked_ca_are_refused(material: Material) -> None:
    """The orphan itself is on no list; its CA is on the root's, which only those see who check the whole chain."""
    assert verify(material, "orphan", *whole_chain(material.complete_crls)) == [Finding(REVOKED, 1)]
    assert verify(material, "orphan", *whole_chain(material.sharded_crls)) == [Finding(REVOKED, 1)]
    assert verify(material, "orphan", "-crl_check", "-CRLfile", material.crl("fallen")) == []


@every_key_type
def test_strangers_are_refused(material: Material) -> None:
    """A CA with our names and other keys gets neither its leaves nor its lists accepted."""
    assert material.stranger is not None
    assert verify(material.stranger, "mesh", *whole_chain(material.stranger.complete_crls)) == []
    found = verify(material, material.stranger["mesh"], *whole_chain(material.stranger.complete_crls))
    assert found == [Finding(NO_ISSUER, 1)]
    assert verify(material, "mesh", *whole_chain(material.stranger.complete_crls)) == [Finding(CRL_NOT_FOUND, 0)]


@every_key_type
def test_a_leaf_is_good_for_what_its_profile_says(material: Material) -> None:
    """TLS clients and TLS servers are not each other, unless the profile makes both."""
    for purpose, meant in (("sslclient", CLIENTS), ("sslserver", SERVERS)):
        accepted = [name for name in sorted(NAMES) if not verify(material, name, "-purpose", purpose)]
        assert accepted == sorted(meant), purpose
    assert verify(material, "server", "-purpose", "sslclient") == [Finding(WRONG_PURPOSE, 0)]


def test_names_match_as_they_should(material: Material) -> None:
    """Host names, wildcards one label deep, addresses of both families, mail addresses; and nothing else."""
    for name in ("localhost", "db.eu.example.internal"):
        assert verify(material, "server", "-verify_hostname", name) == []
    for address in ("127.0.0.1", "::1"):
        assert verify(material, "server", "-verify_ip", address) == []
    assert verify(material, "edge", "-verify_hostname", "shop.edge.example.internal") == []
    assert verify(material, "client", "-verify_email", "ada@example.internal") == []
    assert verify(material, "server", "-verify_hostname", "example.internal") == [Finding(WRONG_HOST, 0)]
    assert verify(material, "server", "-verify_ip", "127.0.0.2") == [Finding(WRONG_IP, 0)]
    for name in ("a.shop.edge.example.internal", "edge.example.internal"):
        assert verify(material, "edge", "-verify_hostname", name) == [Finding(WRONG_HOST, 0)]
    assert verify(material, "client", "-verify_email", "eve@example.internal") == [Finding(WRONG_EMAIL, 0)]


@every_key_type
def test_every_list_verifies_under_its_own_ca(material: Material) -> None:
    """And under no other: not under a sister, nor under a stranger of the same name."""
    openssl, stranger = peer.require("openssl"), material.stranger
    assert stranger is not None
    lists = {name: [material.crl(name)] for name in AUTHORITIES}
    lists["issuing"] += [material.shard_crl(number) for number in range(SHARDS)]
    for authority, paths in lists.items():
        sister = "fallen" if authority == "issuing" else "issuing"
        for path in paths:
            check = (openssl, "crl", "-in", path, "-noout", "-verify", "-CAfile")
            good = peer.run(*check, material.authority(authority))
            assert (good.returncode, good.stderr) == (0, b"verify OK\n")
            assert peer.run(*check, material.authority(sister)).returncode != 0
            assert b"verify failure" in peer.run(*check, stranger.authority(authority)).stderr


@every_key_type
def test_what_is_parsed_is_what_was_written(material: Material) -> None:
    """Certificates and lists parse against OpenSSL's templates, print without a complaint, and re-encode unchanged."""
    openssl = peer.require("openssl")
    everything = sorted(material.directory.glob("*.der"))
    assert len(everything) > 30
    for path in everything:
        read = (openssl, "crl" if path.stem.endswith("-crl") else "x509", "-inform", "DER", "-in", path)
        encoded = peer.run(*read, "-outform", "DER")
        assert (encoded.returncode, encoded.stdout, encoded.stderr) == (0, path.read_bytes(), b""), path.name
    for path in (material[name].der for name in ("mesh", "ephemeral", "ocsp-signer", "edge")):
        _prints_cleanly(path, "x509", "X509")
    for path in (material.crl("issuing"), material.shard_crl(0), material.crl("root", past=True)):
        _prints_cleanly(path.with_suffix(".der"), "crl", "X509_CRL")


def _prints_cleanly(path: Path, command: str, item: str) -> None:
    openssl = peer.require("openssl")
    text = peer.run(openssl, command, "-inform", "DER", "-in", path, "-noout", "-text")
    assert (text.returncode, text.stderr) == (0, b"")
    assert not re.search(rb"(?i)error|unable|bad |<unsupported|<parse", text.stdout), text.stdout.decode()
    for options in ((), ("-item", item)):
        parsed = peer.run(openssl, "asn1parse", "-inform", "DER", "-in", path, *options)
        assert (parsed.returncode, parsed.stderr) == (0, b"")
        assert not re.search(rb"(?i)error|bad |indefinite|\binf\b", parsed.stdout), parsed.stdout.decode()


def test_reasons_and_numbers_are_shown(material: Material) -> None:
    """`openssl crl -text` names every entry with its reason, and the list's number."""
    openssl = peer.require("openssl")
    text = peer.run(openssl, "crl", "-in", material.crl("issuing"), "-noout", "-text").stdout.decode()
    shown = dict(re.findall(r"Serial Number: ([0-9A-F]+)\n.*\n(?: +CRL entry extensions:\n.*\n +(.+)\n)?", text))
    wanted = {
        material[revoked_for(reason)].parsed.serial_number: ""
        if reason is RevocationReason.UNSPECIFIED
        else reason.word.replace("-", " ")
        for reason in RevocationReason
    }
    assert {int(serial, 16): reason.lower() for serial, reason in shown.items()} == wanted
    crl = x509.load_pem_x509_crl(material.crl("issuing").read_bytes())
    number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    assert re.search(rf"X509v3 CRL Number: *\n +{number}\n", text)


def test_ml_dsa_is_for_openssl_3_5_and_newer(material_of: MakeMaterial) -> None:
    """Older ones parse an ML-DSA chain and refuse it: nobody takes a signature for good that it cannot check."""
    version = peer.run(peer.require("openssl"), "version").stdout.decode().split()[1]
    found = verify(material_of(KeyType.MLDSA65), "mesh")
    assert (found == []) is (tuple(map(int, version.split(".")[:2])) >= (3, 5))
