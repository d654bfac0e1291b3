"""OCSP answers as bytes (RFC 6960 section 4.2): what is signed, what is sent, and the answers that are not signed.

Written by hand because `cryptography` builds answers about one certificate alone, and names it anew instead of
repeating what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from ca import der
from ca.ocsp.asked import NONCE

GOOD = der.tagged(0x80, b"")
UNKNOWN = der.tagged(0x82, b"")
_BASIC = der.oid("1.3.6.1.5.5.7.48.1.1")


def _unsigned(status: int) -> bytes:
    return der.sequence(der.enumerated(status))


MALFORMED, INTERNAL_ERROR, TRY_LATER, UNAUTHORIZED = (_unsigned(status) for status in (1, 2, 3, 6))
"""OCSPResponseStatus, section 4.2.1: nobody signs these."""


@lru_cache(maxsize=4096)
def _time(seconds: int) -> bytes:
    return der.tagged(0x18, datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%SZ").encode())


def revoked(at: int, reason: int) -> bytes:
    """CertStatus of a revoked certificate. `unspecified` is expressed by saying nothing, as on lists."""
    return der.tagged(0xA1, _time(at) + (der.explicit(0, der.enumerated(reason)) if reason else b""))


def single(cert_id: bytes, status: bytes, this_update: int, next_update: int) -> bytes:
    """SingleResponse: one certificate, as it was asked about, and what it is from when until when."""
    return der.sequence(cert_id, status, _time(this_update), der.explicit(0, _time(next_update)))


def response_data(key_hash: bytes, produced_at: int, singles: Sequence[bytes], nonce: bytes | None) -> bytes:
    """ResponseData, to be signed. Who signs is named by key: the shorter form (RFC 5019 section 2.2.1)."""
    extensions = b""
    if nonce is not None:
        extensions = der.explicit(1, der.sequence(der.sequence(NONCE, der.octet_string(nonce))))
    responder = der.explicit(2, der.octet_string(key_hash))
    return der.sequence(responder, _time(produced_at), der.sequence(*singles), extensions)


def successful(tbs: bytes, algorithm: bytes, signature: bytes, certificate: bytes) -> bytes:
    """OCSPResponse with what was signed, and the signer's certificate unless the CA itself has signed."""
    certificates = der.explicit(0, der.sequence(certificate)) if certificate else b""
    basic = der.sequence(tbs, algorithm, der.bit_string(signature), certificates)
    return der.sequence(der.enumerated(0), der.explicit(0, der.sequence(_BASIC, der.octet_string(basic))))
