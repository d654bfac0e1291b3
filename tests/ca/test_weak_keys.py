"""Keys that nobody should trust: one of each class is refused by the check and by the authoriser; good ones are not."""

from __future__ import annotations

import itertools
import random
from functools import cache
from math import isqrt, prod
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der, enrolment
from ca.enrolment import Wish
from ca.errors import BadRequest, PolicyRefusal
from ca.installation import Installation
from ca.keys.algorithms import KeyType, key_type_of
from ca.keys.weak import has_close_primes, weaknesses
from ca.x509.request import read_request
from tests import rig

CHANCE = random.Random(20261121)
"""The keys are the same in every run: a search for primes that is quick today is quick tomorrow."""


@cache
def primes_below(limit: int) -> tuple[int, ...]:
    """The primes below a number, by sieve."""
    marks = bytearray([1]) * limit
    for number in range(2, isqrt(limit) + 1):
        marks[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return tuple(number for number in range(2, limit) if marks[number])


def is_prime(number: int) -> bool:
    """As surely as anybody needs it for a key that is thrown away."""
    return all(number % p for p in primes_below(2000)) and pow(2, number - 1, number) == 1


def next_prime(number: int) -> int:
    """The first prime from here on."""
    return next(candidate for candidate in itertools.count(number | 1, 2) if is_prime(candidate))


def large_number(bits: int = 1024) -> int:
    """Odd, and so large that the product of two has twice the bits."""
    return CHANCE.getrandbits(bits) | 3 << (bits - 2) | 1


def roca_prime(bits: int = 1024) -> int:
    """A prime as the broken library made it: k * M + (65537^a mod M), M the first 126 primes' product for RSA-2048."""
    primorial = prod(primes_below(702))
    assert len(primes_below(702)) == 126
    while True:
        k = CHANCE.getrandbits(bits - primorial.bit_length()) | 3 << (bits - primorial.bit_length() - 2)
        candidate = k * primorial + pow(65537, CHANCE.getrandbits(64), primorial)
        if candidate.bit_length() == bits and pow(2, candidate - 1, candidate) == 1:
            return candidate


@cache
def good_primes() -> tuple[int, ...]:
    """Twelve primes out of six keys that a good library made."""
    numbers = [rsa.generate_private_key(65537, 2048).private_numbers() for _ in range(6)]
    return tuple(prime for number in numbers for prime in (number.p, number.q))


@cache
def good_modulus() -> int:
    """A sound RSA-2048 modulus."""
    return good_primes()[0] * good_primes()[1]


def rsa_key(n: int, e: int = 65537) -> rsa.RSAPublicKey:
    """A public key of any numbers that a parser takes."""
    return rsa.RSAPublicNumbers(e, n).public_key()


def close_primes(distance: int) -> rsa.RSAPublicKey:
    """A modulus of two primes that are about this far apart."""
    p = next_prime(large_number())
    return rsa_key(p * next_prime(p + distance))


def small_order(encoded: str) -> Ed25519PublicKey:
    """An Ed25519 public key of small order."""
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(encoded))


WEAK = {
    "ROCA": lambda: rsa_key(roca_prime() * roca_prime()),
    "neighbouring primes": lambda: close_primes(2),
    "primes 2^500 apart": lambda: close_primes(1 << 500),
    "primes 2^516 apart": lambda: close_primes(1 << 516),
    "a square": lambda: rsa_key(good_primes()[0] ** 2),
    "even modulus": lambda: rsa_key(good_modulus() - 1),
    "factor 3": lambda: rsa_key(3 * ((1 << 2047) // 3 + 2 | 1)),
    "factor 751": lambda: rsa_key(751 * next_prime((1 << 2047) // 751 + 2)),
    "exponent 3": lambda: rsa_key(good_modulus(), 3),
    "exponent 17": lambda: rsa_key(good_modulus(), 17),
    "exponent 65535": lambda: rsa_key(good_modulus(), 65535),
    "exponent 2^256 + 1": lambda: rsa_key(good_modulus(), 2**256 + 1),
    "exponent n - 2": lambda: rsa_key(good_modulus(), good_modulus() - 2),
}
UNSUPPORTED = {
    "RSA-512": lambda: rsa_key(isqrt(good_modulus() >> 1536) ** 2 | 1),
    "RSA-1024": lambda: rsa.generate_private_key(65537, 1024).public_key(),
    "RSA-2047": lambda: rsa_key(good_modulus() >> 1 | 1),
    "RSA-2049": lambda: rsa_key(good_modulus() << 1 | 1),
    "RSA-2056": lambda: rsa_key(good_modulus() << 8 | 1),
    "RSA-16384": lambda: rsa_key(1 << 16383 | 1),
    "P-192": lambda: ec.generate_private_key(ec.SECP192R1()).public_key(),
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()).public_key(),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()).public_key(),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()).public_key(),
    "brainpoolP256r1": lambda: ec.generate_private_key(ec.BrainpoolP256R1()).public_key(),
    "brainpoolP384r1": lambda: ec.generate_private_key(ec.BrainpoolP384R1()).public_key(),
    "DSA": lambda: dsa.generate_private_key(1024).public_key(),
    "X25519": lambda: x25519.X25519PrivateKey.generate().public_key(),
    "X448": lambda: x448.X448PrivateKey.generate().public_key(),
    "Ed448": lambda: ed448.Ed448PrivateKey.generate().public_key(),
}
SMALL_ORDER = (
    *("01" + "00" * 31, "ec" + "ff" * 30 + "7f", "00" * 32, "00" * 31 + "80"),
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
)
IDENTITY = bytes.fromhex(SMALL_ORDER[0])


def request_with(spki: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """A certification request for any public key, with any signature."""
    names = der.sequence(der.tagged(0x82, b"a.example.internal"))
    san = der.sequence(der.oid("2.5.29.17"), der.octet_string(names))
    attribute = der.sequence(der.oid("1.2.840.113549.1.9.14"), der.tagged(0x31, der.sequence(san)))
    info = der.sequence(der.integer(0), der.sequence(), spki, der.explicit(0, attribute))
    return der.sequence(info, der.sequence(algorithm), der.bit_string(signature))


def reasons_of(installation: Installation, key: Any) -> set[str]:
    """What the authoriser says to a request for this key."""
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    data = request_with(spki, der.oid("1.2.840.10045.4.3.2"), b"\x30\x06\x02\x01\x01\x02\x01\x01")
    with pytest.raises((PolicyRefusal, BadRequest)) as raised:
        enrolment.authorise_issue(installation, rig.OPERATOR, "server", read_request(data), Wish())
    return {reason.code for reason in getattr(raised.value, "reasons", ())} or {raised.value.code}


@pytest.mark.parametrize("make", WEAK.values(), ids=WEAK.keys())
def test_a_weak_key_is_refused(make: Any, installation: Installation) -> None:
    """One key of each weak class, of a size that would be allowed, is refused by the check and by the authoriser."""
    key = make()
    assert key_type_of(key) is KeyType.RSA2048
    assert {reason.code for reason in weaknesses(key)} == {"weak-key"}
    assert reasons_of(installation, key) == {"weak-key"}


@pytest.mark.parametrize("make", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_a_key_of_another_kind_is_refused(make: Any, installation: Installation) -> None:
    """Other curves, sizes and algorithms are refused, and the reason says which kinds there are."""
    key = make()
    assert key_type_of(key) is None
    [reason] = weaknesses(key)
    assert reason.code == "unsupported-key"
    assert "P-256" in str(reason)
    assert reasons_of(installation, key) <= {"unsupported-key", "bad-csr"}


@pytest.mark.parametrize("exponent", [1, 2, 4, 65536, 2**64])
def test_an_even_or_trivial_exponent_is_refused(exponent: int, installation: Installation) -> None:
    """A request for an RSA key with an even exponent, or 1, is refused wherever it is noticed first."""
    key = der.sequence(der.integer(good_modulus()), der.integer(exponent))
    identifier = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.NULL)
    data = request_with(der.sequence(identifier, der.bit_string(key)), der.oid("1.2.840.113549.1.1.11"), b"\x00")
    with pytest.raises((BadRequest, PolicyRefusal)):
        enrolment.authorise_issue(installation, rig.OPERATOR, "server", read_request(data), Wish())


def test_every_weakness_of_a_key_is_named() -> None:
    """A key with three faults gets three reasons, each with its rule."""
    found = weaknesses(rsa_key((1 << 1024) ** 2 - (1 << 1025) + 1, 3))
    assert {reason.rule for reason in found} >= {"BR 6.1.6", "CVE-2022-26320"}
    assert len(found) >= 2


def test_the_roca_keys_have_the_fingerprint_and_nothing_else() -> None:
    """It is the ROCA fingerprint that gives such a key away, not one of the other checks (CVE-2017-15361)."""
    for _ in range(2):
        assert [reason.rule for reason in weaknesses(rsa_key(roca_prime() * roca_prime()))] == ["CVE-2017-15361"]


@pytest.mark.parametrize("prime", primes_below(752))
def test_each_small_factor_is_found(prime: int) -> None:
    """A modulus with any prime below 752 in it is weak."""
    n = prime * (((1 << 2047) // prime + 2) | 1)
    assert n.bit_length() == 2048
    assert "the RSA modulus has a factor below 752" in {reason.message for reason in weaknesses(rsa_key(n))}


@given(a=st.integers(3 << 1022, (1 << 1024) - 1), distance=st.integers(0, 1 << 515))
@settings(deadline=None, max_examples=100)
def test_factors_that_are_close_are_found(a: int, distance: int) -> None:
    """Fermat's method finds any two odd factors of 1024 bits whose distance is below 2^515 (CVE-2022-26320)."""
    one, other = a | 1, (a + distance) | 1
    assert has_close_primes(one * other)


@pytest.mark.parametrize("n", [3 * 3, 3 * 5, 5 * 7, 101 * 103, 65521 * 65537])
def test_fermat_works_on_small_numbers(n: int) -> None:
    """The method is right where it can be followed by hand."""
    assert has_close_primes(n)
    assert not has_close_primes(3 * 1_000_003, rounds=10)


def test_sixty_six_good_keys_are_not_refused() -> None:
    """Keys of primes that a good library made are not taken for weak ones, whichever two of the primes are paired."""
    moduli = [p * q for p, q in itertools.combinations(good_primes(), 2)]
    assert len(set(moduli)) == 66
    for n in moduli:
        assert weaknesses(rsa_key(n)) == []


@pytest.mark.parametrize("exponent", [65537, 65539, 2**32 + 1, 2**256 - 1])
def test_a_large_odd_exponent_is_good(exponent: int) -> None:
    """From 65537 to 2^256 - 1, both inside (BR 6.1.6)."""
    assert weaknesses(rsa_key(good_modulus(), exponent)) == []


@pytest.mark.parametrize("key_type", KeyType)
def test_every_kind_of_key_that_we_make_is_good(key_type: KeyType) -> None:
    """What this product generates, it certifies."""
    key = rig.pooled_key(key_type).public_key()
    assert key_type_of(key) is key_type
    assert weaknesses(key) == []


@pytest.mark.parametrize("encoded", SMALL_ORDER)
def test_an_ed25519_key_of_small_order_is_refused(encoded: str) -> None:
    """Under a point of small order, signatures that nobody's key made verify: nobody should trust such a key."""
    assert {reason.code for reason in weaknesses(small_order(encoded))} == {"weak-key"}


def test_possession_cannot_be_proved_without_a_key(installation: Installation) -> None:
    """A request that was made without any private key ends in a refusal, at the latest when it is decided about."""
    identifier = der.oid("1.3.101.112")
    spki = der.sequence(der.sequence(identifier), der.bit_string(IDENTITY))
    request = read_request(request_with(spki, identifier, IDENTITY + bytes(32)))
    with pytest.raises((BadRequest, PolicyRefusal)):
        request.prove_possession()
        enrolment.authorise_issue(installation, rig.OPERATOR, "server", request, Wish())
