"""Reading OCSP requests: what strangers may send, and that nothing they send is an error of ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.x509 import ocsp
from hypothesis import given, settings
from hypothesis import strategies as st

from ca import der
from ca.errors import BadRequest
from ca.installation import Installation
from ca.ocsp import encoding
from ca.ocsp.asked import MOST_OCTETS, NONCE, SHA1, plain_request, read_request
from ca.ocsp.responder import Responder
from ca.store import open_store
from tests import rig
from tests.ca.asking import SHA256, ca_of, make_responder, request_about

CERT_ID = der.sequence(
    der.sequence(SHA1, der.NULL), der.octet_string(bytes(20)), der.octet_string(bytes(20)), der.integer(77)
)
PLAIN = der.sequence(der.sequence(der.sequence(der.sequence(CERT_ID))))
OTHER = der.oid("1.2.3.4")
STATUSES = {"good", "revoked", "unknown", "several", "malformed", "unauthorized"}


def request_with(*, version: bytes = b"", name: bytes = b"", after: bytes = b"", signature: bytes = b"") -> bytes:
    """A request with more or less in it."""
    return der.sequence(der.sequence(version, name, der.sequence(der.sequence(CERT_ID)), after), signature)


def extensions(*each: bytes) -> bytes:
    """requestExtensions."""
    return der.explicit(2, der.sequence(*each))


def nonce(size: int) -> bytes:
    """The extension."""
    return der.sequence(NONCE, der.octet_string(der.octet_string(bytes(size))))


CRITICAL = der.sequence(OTHER, der.BOOLEAN_TRUE, der.octet_string(b"x"))
READABLE = {
    "plain": PLAIN,
    "the version written out": request_with(version=der.explicit(0, der.integer(0))),
    "the name of who asks": request_with(name=der.explicit(1, der.tagged(0x82, b"a.example"))),
    "a signature": request_with(signature=der.explicit(0, der.sequence(b""))),
    "an extension that is not critical": request_with(
        after=extensions(der.sequence(OTHER, der.octet_string(b"x")), nonce(32))
    ),
    "an extension of one certificate": der.sequence(
        der.sequence(
            der.sequence(
                der.sequence(CERT_ID, der.explicit(0, der.sequence(der.sequence(OTHER, der.octet_string(b"")))))
            )
        )
    ),
    "no parameters of the hash": PLAIN.replace(der.sequence(SHA1, der.NULL), der.sequence(SHA1, der.NULL)),
}
UNREADABLE = {
    "nothing": b"",
    "one octet": b"\x30",
    "something behind it": PLAIN + b"\x00",
    "cut": PLAIN[:-1],
    "another version": request_with(version=der.explicit(0, der.integer(1))),
    "a critical extension": request_with(after=extensions(CRITICAL)),
    "an extension without a name": request_with(after=extensions(der.sequence(b"\x06\x00", der.octet_string(b"x")))),
    "a name that begins with nothing": request_with(
        after=extensions(der.sequence(b"\x06\x03\x2a\x80\x04", der.octet_string(b"x")))
    ),
    "a name that does not end": request_with(
        after=extensions(der.sequence(b"\x06\x03\x2a\x03\x84", der.octet_string(b"x")))
    ),
    "a truth that is none": request_with(
        after=extensions(der.sequence(NONCE, b"\x01\x01\x01", der.octet_string(der.octet_string(bytes(8)))))
    ),
    "a default that is written out": request_with(
        after=extensions(der.sequence(OTHER, b"\x01\x01\x00", der.octet_string(b"x")))
    ),
    "two nonces": request_with(after=extensions(nonce(8), nonce(8))),
    "a bare nonce": request_with(after=extensions(der.sequence(NONCE, der.octet_string(b"12345678")))),
    "no certificate": der.sequence(der.sequence(der.sequence())),
    "an indefinite length": b"\x30\x80" + PLAIN[2:] + b"\x00\x00",
    "a long form of a short length": b"\x30\x81" + PLAIN[1:],
    "a length of lengths": b"\x30\xff" + bytes(300),
    "a length beyond": b"\x30\x84\xff\xff\xff\xff" + PLAIN,
    "a longer serial than needed": PLAIN.replace(der.integer(77), b"\x02\x01\x4d", 1)[:-3] + b"\x02\x02\x00\x4d",
    "too large": request_with(name=der.explicit(1, bytes(MOST_OCTETS))),
}


@pytest.mark.parametrize("what", READABLE)
def test_what_is_well_formed_is_read(what: str) -> None:
    """Whatever else it says, what it asks about is found, byte for byte."""
    (found,) = read_request(READABLE[what]).certificates
    assert (found.encoded, found.serial, found.algorithm) == (CERT_ID, 77, SHA1)
    assert plain_request(found) == PLAIN


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_is_not_is_refused(what: str) -> None:
    """In one way, whatever is wrong."""
    with pytest.raises(BadRequest):
        read_request(UNREADABLE[what])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Responder, list[bytes]]]:
    """A responder, and requests that it can answer: about a certificate, with a nonce, by both hashes."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('ocsp')}/certwright.db")
    installation = rig.make_installation(store)
    issued, issuer = rig.parsed(rig.issue(installation)), ca_of(installation)
    requests = [
        request_about(issued, issuer),
        request_about(issued, issuer, algorithm=SHA256),
        request_about(issued, issuer, nonce=bytes(range(32))),
        READABLE["an extension that is not critical"],
    ]
    yield installation, make_responder(installation), requests
    store.close()


@st.composite
def damage(draw: st.DrawFn) -> tuple[int, list[tuple[str, int, bytes]]]:
    """Which request, and what is done to it: octets changed, put in, taken out, doubled, cut."""
    steps = st.tuples(
        st.sampled_from(["change", "insert", "remove", "cut", "double"]),
        st.integers(0, 400),
        st.binary(min_size=1, max_size=4),
    )
    return draw(st.integers(0, 3)), draw(st.lists(steps, min_size=1, max_size=4))


def damaged(request: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    """The request afterwards."""
    for word, place, octets in steps:
        at = place % (len(request) + 1)
        match word:
            case "change":
                request = request[:at] + octets + request[at + len(octets) :]
            case "insert":
                request = request[:at] + octets + request[at:]
            case "remove":
                request = request[:at] + request[at + len(octets) :]
            case "cut":
                request = request[:at]
            case _:
                request = request[:at] + request
    return request


@settings(max_examples=4000, deadline=None)
@given(damage())
def test_damaged_requests_get_a_well_formed_answer(
    world: tuple[Installation, Responder, list[bytes]], what: tuple[int, list[tuple[str, int, bytes]]]
) -> None:
    """Never an exception; and what is not malformed is read by others, too, as asking about the same."""
    _, asked, requests = world
    request = damaged(requests[what[0]], what[1])
    answer = asked.answer(request)
    assert answer.status in STATUSES
    parsed = ocsp.load_der_ocsp_response(answer.body)
    if answer.status in ("malformed", "unauthorized"):
        assert parsed.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL
    elif answer.status != "several":
        assert ocsp.load_der_ocsp_request(request).serial_number == parsed.serial_number


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_malformed(world: tuple[Installation, Responder, list[bytes]], noise: bytes) -> None:
    """Whatever octets they are."""
    assert world[1].answer(noise).body in (encoding.MALFORMED, encoding.UNAUTHORIZED)
