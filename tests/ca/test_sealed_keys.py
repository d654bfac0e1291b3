"""Keys that we made for others: sealed for one purpose, under one passphrase, never to be seen in what is stored."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import KeyUnavailable
from ca.keys.algorithms import KeyType
from ca.keys.sealed import NONCE, Sealer
from ca.secret import Secret
from tests import rig

SALT = bytes(16)
SEALER = Sealer(Secret("correct horse"), SALT)


@pytest.mark.parametrize("key_type", [KeyType.P256, KeyType.RSA2048, KeyType.ED25519, KeyType.MLDSA65])
def test_a_key_comes_back_as_it_was(key_type: KeyType) -> None:
    """Of every kind that a leaf may have."""
    key = rig.pooled_key(key_type)
    found = SEALER.unwrap(SEALER.wrap(key, "lineage:1"), "lineage:1")
    assert found.public_key() == key.public_key()


@pytest.mark.parametrize("purpose", ["lineage:2", "lineage:11", "", "acme-account:x"])
def test_a_sealed_key_serves_one_purpose(purpose: str) -> None:
    """Moved to another row it cannot be opened."""
    with pytest.raises(KeyUnavailable, match="cannot be opened"):
        SEALER.unwrap(SEALER.wrap(rig.pooled_key(), "lineage:1"), purpose)


@pytest.mark.parametrize("other", [Sealer(Secret("wrong"), SALT), Sealer(Secret("correct horse"), bytes(15) + b"1")])
def test_another_passphrase_or_salt_opens_nothing(other: Sealer) -> None:
    """And the refusal says where the passphrase comes from."""
    with pytest.raises(KeyUnavailable) as refused:
        other.unwrap(SEALER.wrap(rig.pooled_key(), "x"), "x")
    assert "CERTWRIGHT_KEY_PASSPHRASE" in (refused.value.hint or "")


@settings(max_examples=100)
@given(st.data())
def test_any_damage_is_found(data: st.DataObject) -> None:
    """A flipped bit, a cut end, something else altogether: a refusal, never a key."""
    sealed = bytearray(SEALER.wrap(rig.pooled_key(), "x"))
    place = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[place // 8] ^= 1 << place % 8
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for damaged in (bytes(sealed), bytes(sealed[:cut]), secrets.token_bytes(cut)):
        with pytest.raises(KeyUnavailable):
            SEALER.unwrap(damaged, "x")


def test_nothing_of_the_key_shows_and_no_nonce_comes_twice() -> None:
    """A thousand seals of one key are a thousand different texts, none with a part of the key in it."""
    key = rig.pooled_key()
    clear = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    sealed = [SEALER.wrap(key, "x") for _ in range(1000)]
    assert len({each[:NONCE] for each in sealed}) == 1000
    assert not any(clear[start : start + 8] in each for each in sealed[:20] for start in range(0, len(clear) - 8, 8))
