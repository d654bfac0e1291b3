"""The floor of one issuance: checking the signature on a request, and making one. Nothing can be below it."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from ca.keys.algorithms import KeyType
from tests import rig
from tests.bench.report import cpu_per_call


def measure_floor() -> float:
    """CPU seconds of one P-256 signature check on a PKCS#10 request and one P-256 signature, through `cryptography`."""
    request = rig.make_csr(rig.WORKLOAD)
    key = KeyType.P256.generate()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    algorithm = ec.ECDSA(hashes.SHA256())
    csr = x509.load_der_x509_csr(request)
    data = csr.tbs_certrequest_bytes

    def once() -> None:
        assert csr.is_signature_valid
        key.sign(data, algorithm)

    return cpu_per_call(once, calls=2000)
