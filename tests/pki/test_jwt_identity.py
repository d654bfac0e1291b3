"""What a provider says of somebody is believed only if its own key signed it, for us, now, in a way that we take."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import clock
from ca.errors import Unauthenticated, Unavailable
from pki.jwt_keys import ASK_AGAIN, KEYS_KEPT, MAX_KEYS, ProviderKeys
from pki.web.jwt_identity import Expected, verify
from tests.provider import CLIENT, Key, as_jwk, make_key, text

ISSUER, NONCE = "https://idp.example.org", "n-1"
EXPECTED = Expected(ISSUER, CLIENT, NONCE, 600)
ALGORITHMS = ("RS256", "ES256", "EdDSA")
KEYS: dict[str, Key] = {algorithm: make_key(algorithm) for algorithm in ALGORITHMS}
OTHER = make_key("RS256")
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def _pinned() -> Iterator[None]:
    with clock.pinned(clock.from_timestamp(NOW)):
        yield


def claims(**changes: Any) -> dict[str, Any]:
    """What it says; None leaves something out."""
    said = {"iss": ISSUER, "aud": CLIENT, "sub": "ada", "exp": NOW + 300, "iat": NOW, "nonce": NONCE, **changes}
    return {name: value for name, value in said.items() if value is not None}


def signed(said: dict[str, Any], algorithm: str = "RS256", key: Any = None, **header: Any) -> str:
    """A token."""
    content = json.dumps(said).encode()  # the library would not say what is odd
    return jwt.PyJWS().encode(content, key or KEYS[algorithm], algorithm, {"kid": algorithm, **header})


def keys(*described: Any) -> ProviderKeys:
    """The provider's keys: these, or one for each algorithm."""
    known = list(described) or [as_jwk(key, algorithm, algorithm) for algorithm, key in KEYS.items()]
    return ProviderKeys(lambda: {"keys": known})


def refused(token: str, known: ProviderKeys | None = None, expected: Expected = EXPECTED) -> str:
    """Why a token is not believed."""
    with pytest.raises(Unauthenticated) as caught:
        verify(token, known or keys(), expected)
    assert caught.value.code == "bad-identity-token"
    return caught.value.message


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_holds_is_believed(algorithm: str) -> None:
    """Signed by the provider's key of each kind; the audience alone or in a list with us as the party."""
    assert verify(signed(claims(), algorithm), keys(), EXPECTED)["sub"] == "ada"
    many = claims(aud=["other", CLIENT], azp=CLIENT)
    assert verify(signed(many, algorithm), keys(), EXPECTED)["aud"] == ["other", CLIENT]
    assert verify(signed(claims(nonce=None), algorithm), keys(), Expected(ISSUER, CLIENT))["sub"] == "ada"


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "other"},
        {"aud": None},
        {"aud": []},
        {"aud": [[CLIENT]]},
        {"aud": CLIENT.upper()},
        {"aud": {CLIENT: 1}},
        {"aud": ["other", CLIENT]},
        {"azp": "other"},
        {"aud": ["other", CLIENT], "azp": "other"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"iss": [ISSUER]},
        {"nonce": "n-2"},
        {"nonce": None},
        {"nonce": [NONCE]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a" * 256},
        {"sub": "ada\n"},
        {"sub": "ad\u0430"},
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": True},
        {"exp": str(NOW + 300)},
        {"exp": 1 << 50},
        {"iat": NOW + 61},
        {"iat": NOW - 661},
        {"iat": None},
        {"nbf": NOW + 61},
        {"nbf": "soon"},
    ],
    ids=str,
)
def test_what_is_not_for_us_now_is_refused(changes: dict[str, Any]) -> None:
    """Audience, party, issuer, nonce, subject and times: each by itself, however well it is signed."""
    refused(signed(claims(**changes)))


def unsigned(said: dict[str, Any], key: bytes | None = None, **header: Any) -> str:
    """A token put together by hand: without a signature, or with that of a MAC."""
    parts = [text(json.dumps(part).encode()) for part in ({"alg": "none", "kid": "RS256", **header}, said)]
    body = ".".join(parts)
    return f"{body}.{'' if key is None else text(hmac.new(key, body.encode(), sha256).digest())}"


def public_forms() -> list[bytes]:
    """The public key as somebody might take it for a secret."""
    public = KEYS["RS256"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    described = as_jwk(KEYS["RS256"], "RS256", "RS256")
    return [pem, pem.strip(), der, json.dumps(described).encode(), urlsafe_b64decode(described["n"] + "==")]


def test_an_algorithm_is_the_keys_and_not_the_tokens() -> None:
    """`none` in all its spellings, a MAC keyed with the public key, another kind's signature (RFC 8725, 3.1)."""
    for word in ("none", "None", "NONE", "nOnE", ""):
        refused(unsigned(claims(), alg=word))
    for form in public_forms():
        refused(unsigned(claims(), form, alg="HS256", typ="JWT"))
    for algorithm in ALGORITHMS:
        _, _, rest = signed(claims(), algorithm).partition(".")
        for other in {*ALGORITHMS, "PS256", "ES384"} - {algorithm}:
            refused(f"{text(json.dumps({'alg': other, 'kid': algorithm}).encode())}.{rest}")


def test_a_key_is_the_providers_and_not_the_tokens() -> None:
    """Signed by somebody else under its name, a key that comes along, an address to fetch one from."""
    described = as_jwk(OTHER, "RS256", "RS256")
    refused(signed(claims(), key=OTHER))
    refused(signed(claims(), key=OTHER, jwk=described))
    refused(signed(claims(), key=OTHER, jku="https://evil.example/keys", x5u="https://evil.example/x"))
    refused(signed(claims(), kid="unknown"))
    refused(jwt.encode(claims(), KEYS["RS256"], "RS256"), keys(as_jwk(KEYS["RS256"], "RS256", "a"), described))
    assert verify(jwt.encode(claims(), KEYS["RS256"], "RS256"), keys(), EXPECTED)


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"typ": "at+jwt"}, {"typ": "logout+jwt"}], ids=str)
def test_another_kind_of_token_is_refused(header: dict[str, Any]) -> None:
    """What was made for something else, or asks for what we do not understand."""
    refused(signed(claims(), **header))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: {**key, "use": "enc"},
        lambda key: {**key, "alg": "RS512"},
        lambda key: {**key, "kty": "oct", "k": "AAAA"},
        lambda key: {**key, "d": "AQAB"},
        lambda key: {**key, "n": "!"},
        lambda _key: "RS256",
        lambda _key: {"kty": ["RSA"], "kid": "RS256"},
        lambda _key: as_jwk(make_key("RS256", 1024), "RS256", "RS256"),
    ],
)
def test_an_odd_key_is_none(spoil: Callable[[dict[str, Any]], Any]) -> None:
    """A key for something else, a private one, a weak one, no key at all; a good one beside it is used."""
    good = as_jwk(KEYS["ES256"], "ES256", "ES256")
    known = keys(spoil(as_jwk(KEYS["RS256"], "RS256", "RS256")), good)
    refused(signed(claims()), known)
    assert verify(signed(claims(), "ES256"), known, EXPECTED)


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(clock, "monotonic", lambda: self.now)


def test_a_changed_key_is_fetched_and_no_more_often_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new key is known at once after a while; a flood of unknown ones costs one question in half a minute."""
    moment, asked = Clock(monkeypatch), []
    current = {"key": as_jwk(KEYS["RS256"], "RS256", "RS256")}

    def fetch() -> dict[str, Any]:
        asked.append(moment.now)
        return {"keys": [current["key"]]}

    known = ProviderKeys(fetch)
    verify(signed(claims()), known, EXPECTED)
    current["key"] = as_jwk(OTHER, "RS256", "new")
    for number in range(50):
        refused(signed(claims(), kid=f"made-up-{number}"), known)
    assert len(asked) == 1
    moment.now += ASK_AGAIN
    verify(signed(claims(), key=OTHER, kid="new"), known, EXPECTED)
    refused(signed(claims()), known)
    assert len(asked) == 2
    moment.now += KEYS_KEPT
    verify(signed(claims(), key=OTHER, kid="new"), known, EXPECTED)
    assert len(asked) == 3


@pytest.mark.parametrize("document", [{}, {"keys": {}}, {"keys": None}, {"keys": [{}] * (MAX_KEYS + 1)}], ids=str)
def test_no_keys_are_no_keys(document: dict[str, Any]) -> None:
    """Whatever stands where they should be."""
    refused(signed(claims()), ProviderKeys(lambda: document))


def test_a_provider_that_answers_again_is_asked_again() -> None:
    """That it could not be reached once is not remembered as an answer."""
    tries: list[int] = []

    def fetch() -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError
        return {"keys": [as_jwk(KEYS["RS256"], "RS256", "RS256")]}

    known = ProviderKeys(fetch)
    with pytest.raises(TimeoutError):
        verify(signed(claims()), known, EXPECTED)
    assert verify(signed(claims()), known, EXPECTED)


def test_who_may_not_ask_is_told_what_is_known() -> None:
    """On an event loop nothing is fetched, and what was never fetched, or too long ago, lets nobody in."""
    known = keys()
    with pytest.raises(Unavailable):
        known.known("RS256", "RS256")
    assert known.find("RS256", "RS256") is known.known("RS256", "RS256")


def test_a_little_skew_is_forgiven() -> None:
    """A minute in either direction."""
    for changes in ({"exp": NOW - 59}, {"iat": NOW + 60}, {"iat": NOW - 659}):
        assert verify(signed(claims(**changes)), keys(), EXPECTED)
    with clock.pinned(clock.from_timestamp(NOW) + timedelta(seconds=361)):
        refused(signed(claims()))


GOOD = signed({"iss": ISSUER, "aud": CLIENT, "sub": "ada", "exp": NOW + 300, "iat": NOW, "nonce": NONCE}, "EdDSA")
KNOWN = keys()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(GOOD) - 1), character=st.characters(max_codepoint=0x2FF))
def test_no_character_of_it_can_change(place: int, character: str) -> None:
    """One character in another's place anywhere: it is refused, or it says the very same."""
    spoilt = GOOD[:place] + character + GOOD[place + 1 :]
    try:
        said = verify(spoilt, KNOWN, EXPECTED)
    except Unauthenticated:
        return
    assert said == claims()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(max_size=200) | st.binary(max_size=200).map(text) | st.just("." * 3) | st.just("a" * 20_000))
def test_nonsense_is_refused_and_nothing_else(token: str) -> None:
    """Whatever comes in its place."""
    refused(token, KNOWN)
