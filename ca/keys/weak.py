"""Keys that nobody should trust, whoever asks: the mathematical checks on a public key.

The classes are those of CA/B Baseline Requirements 6.1.1.3 that can be found without a download: RSA moduli with small
factors, out-of-range exponents, ROCA (CVE-2017-15361) and close primes (CVE-2022-26320). Keys that are known to be
compromised, and our own CA keys, are a matter of state and live in the blocked-key table (`ca/revocation`).
"""

from __future__ import annotations

from math import gcd, isqrt, prod

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from ca.errors import Reason
from ca.keys.algorithms import KeyType, PublicKey, key_type_of

FERMAT_ROUNDS = 100
"""How many steps from the square root close primes are looked for; generators that failed need few."""


def _primes_below(limit: int) -> list[int]:
    return [n for n in range(2, limit) if all(n % d for d in range(2, isqrt(n) + 1))]


_SMALL_PRIMES_PRODUCT = prod(_primes_below(752))


def _roca_residues() -> list[tuple[int, frozenset[int]]]:
    """For each prime, what 65537 generates modulo it: moduli from the broken library stay inside for every prime."""
    marks = []
    for prime in _primes_below(168)[1:]:
        seen, power = set(), 1
        while power not in seen:
            seen.add(power)
            power = power * 65537 % prime
        marks.append((prime, frozenset(seen)))
    return marks


_ROCA = _roca_residues()


def weaknesses(key: PublicKey) -> list[Reason]:
    """Every reason not to certify this key; empty for a sound one."""
    key_type = key_type_of(key)
    if key_type is None:
        return [Reason("unsupported-key", f"keys of this kind are not supported: {_describe(key)}", _SUPPORTED)]
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return _rsa_weaknesses(numbers.n, numbers.e)
    if isinstance(key, ed25519.Ed25519PublicKey) and key.public_bytes_raw() in _SMALL_ORDER:
        return [
            Reason("weak-key", "the Ed25519 key is a point of small order, which anybody can sign for", "RFC 7748 6.1")
        ]
    return []


_SUPPORTED = "supported: " + ", ".join(KeyType)
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)
"""The eight points whose order divides 8, the cofactor of the curve."""


def _describe(key: PublicKey) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA with {key.key_size} bits"
    curve = getattr(key, "curve", None)
    return f"curve {curve.name}" if curve is not None else type(key).__name__.lstrip("_")


def _rsa_weaknesses(n: int, e: int) -> list[Reason]:
    found = []
    if e % 2 == 0 or not 65537 <= e < 2**256:
        found.append(Reason("weak-key", "the RSA exponent is not an odd number from 65537 to 2^256-1", "BR 6.1.6"))
    if gcd(n, _SMALL_PRIMES_PRODUCT) != 1:
        found.append(Reason("weak-key", "the RSA modulus has a factor below 752", "BR 6.1.6"))
    if all(n % prime in residues for prime, residues in _ROCA):
        found.append(Reason("weak-key", "the RSA modulus has the ROCA fingerprint", "CVE-2017-15361"))
    if has_close_primes(n):
        found.append(Reason("weak-key", "the RSA primes are so close that the key can be factored", "CVE-2022-26320"))
    return found


def has_close_primes(n: int, rounds: int = FERMAT_ROUNDS) -> bool:
    """Whether Fermat's method factors `n` within `rounds` steps."""
    a = isqrt(n - 1) + 1
    for _ in range(rounds):
        b2 = a * a - n
        if b2 & 0xF in (0, 1, 4, 9) and isqrt(b2) ** 2 == b2:
            return True
        a += 1
    return False
