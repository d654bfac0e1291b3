"""What a type of key costs in bytes is measured on what is made, and what is made holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import sizes
from ca.keys.algorithms import AUTHORITY_KEY_TYPES, KeyType
from ca.profiles.collection import Profiles
from ca.specimen import make_specimen, throwaway_issuer, throwaway_key, throwaway_root
from tests import peer, rig

SHIPPED = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)


@pytest.mark.parametrize("key_type", AUTHORITY_KEY_TYPES)
def test_sizes_are_those_of_a_hierarchy(key_type: KeyType) -> None:
    """A leaf with its chain, a signature of the length that the algorithm has, a CRL with all its entries."""
    found = sizes.measure(SHIPPED["sub-ca"], SHIPPED["mesh"], key_type)
    signatures = {"P-256": 72, "P-384": 104, "RSA-3072": 384, "RSA-4096": 512, "Ed25519": 64}
    signatures |= {"ML-DSA-65": 3309, "ML-DSA-87": 4627}
    assert signatures[key_type] - 4 <= found.signature <= signatures[key_type]
    assert found.handshake == found.leaf + found.issuing + found.signature
    assert min(found.root, found.issuing, found.leaf) > found.signature
    per_entry = (found.crl - found.signature) / sizes.ENTRIES
    assert 45 < per_entry < 60  # a serial number of 20 bytes, a time, a reason


def test_what_is_measured_is_a_chain(tmp_path: Path) -> None:
    """OpenSSL verifies it, up to the root that is thrown away afterwards."""
    root = throwaway_root(KeyType.P384)
    issuing = make_specimen(SHIPPED["sub-ca"], KeyType.P384, root)
    leaf = make_specimen(SHIPPED["mesh"], KeyType.P384, throwaway_issuer(issuing, throwaway_key(KeyType.P384)))
    files = {"root": root.der, "issuing": issuing, "leaf": leaf}
    for name, der in files.items():
        (tmp_path / name).write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    argv = [peer.require("openssl"), "verify", "-CAfile", "root", "-untrusted", "issuing", "leaf"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.strip() == "leaf: OK", done.stderr
