"""PKCS#11 URIs (RFC 7512): read strictly, matched by what a token tells of itself, and never with a PIN in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import Misconfigured
from ca.keys.pkcs11_uri import read_token_uri

TOKEN = {"label": "my token", "serial": "0af3", "manufacturer_id": "SoftHSM project", "model": "SoftHSM v2"}


def test_a_token_is_matched_by_everything_that_is_said() -> None:
    """All attributes have to fit, percent-encoded or not; a slot is a further condition."""
    uri = read_token_uri("pkcs11:token=my%20token;serial=0af3;manufacturer=SoftHSM%20project;model=SoftHSM%20v2")
    assert uri.matches(7, TOKEN)
    for name in TOKEN:
        assert not uri.matches(7, {**TOKEN, name: "another"})
    assert read_token_uri("pkcs11:token=my%20token;slot-id=7").matches(7, TOKEN)
    assert not read_token_uri("pkcs11:token=my%20token;slot-id=7").matches(8, TOKEN)


@pytest.mark.parametrize("path", ["/run/pin", "file:/run/pin", "file:///run/pin", "file://localhost/run/pin"])
def test_module_and_pin_source_are_files(path: str) -> None:
    """With and without the scheme."""
    uri = read_token_uri(f"pkcs11:token=a?module-path=/usr/lib/x.so&pin-source={path}")
    assert (uri.module, uri.pin_source) == (Path("/usr/lib/x.so"), Path("/run/pin"))


@pytest.mark.parametrize("text", ["pkcs11:token=a?pin-value=s3cret", "pkcs11:token=a;pin-value=s3cret", "s3cret"])
def test_a_pin_in_the_uri_is_refused_and_not_repeated(text: str) -> None:
    """Wherever it stands."""
    with pytest.raises(Misconfigured) as raised:
        read_token_uri(text)
    assert "s3cret" not in f"{raised.value.message} {raised.value.hint}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "pkcs11:", "pkcs11:?module-path=/x.so", "http:token=a", "pkcs11:token", "pkcs11:token=", "pkcs11:=a"),
        *("pkcs11:token=a;token=b", "pkcs11:token=%zz", "pkcs11:token=%ff", "pkcs11:token=a%00", "pkcs11:slot-id=x"),
        *("pkcs11:token=a;object=key", "pkcs11:token=a;id=%01", "pkcs11:token=a;colour=red", "pkcs11:token=a?x=y"),
        *("pkcs11:token=a?module-path=lib.so", "pkcs11:token=a?pin-source=|/bin/pin", "pkcs11:token=a;;serial=b"),
    ],
)
def test_what_cannot_be_judged_is_refused(text: str) -> None:
    """A misread URI would open another token."""
    with pytest.raises(Misconfigured):
        read_token_uri(text)


@given(st.text(max_size=60))
def test_nothing_else_comes_out(text: str) -> None:
    """Whatever is read: a URI that names a token, or a refusal."""
    try:
        uri = read_token_uri(f"pkcs11:{text}")
    except Misconfigured:
        return
    assert uri.attributes or uri.slot is not None
