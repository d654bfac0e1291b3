"""Signing by a token, beside the same signature in this process: what a SoftHSM2 costs that is no further than memory.

Real modules add their own time to this; what is measured is the way there and back, sessions and locks included.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ca.keys.algorithms import KeyType, PrivateKey, scheme_of
from tests.bench.report import Figure, cpu_per_call, heading, show
from tests.softhsm import soft_token

KINDS = {KeyType.P256: 2000, KeyType.RSA2048: 300, KeyType.RSA3072: 100}
"""Calls for each kind; RSA is slow."""
BUDGET = 6.0
"""The way there, and SoftHSM's own arithmetic, which for RSA is slower than that of `cryptography`."""


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("Signing by a token (SoftHSM2 over PKCS#11) and in this process")
    with (
        tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory,
        soft_token(Path(directory) / "t") as token,
    ):
        keys = token.store()
        for key_type, calls in KINDS.items():
            count = calls // 4 if quick else calls
            floor = _signing(key_type.generate(), key_type, count)
            each = _signing(keys.create(f"bench-{key_type.lower()}", key_type), key_type, count)
            show(Figure(f"floor: {key_type} in this process", floor * 1e6, "us"))
            show(Figure(f"{key_type} by the token", each * 1e6, "us"))
            show(Figure("ratio to the floor", each / floor, "x", BUDGET))


def _signing(key: PrivateKey, key_type: KeyType, calls: int) -> float:
    scheme, data = scheme_of(key_type), bytes(1500)
    return cpu_per_call(lambda: scheme.sign(key, data), calls=calls)
