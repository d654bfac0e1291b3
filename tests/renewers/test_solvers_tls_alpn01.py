"""tls-alpn-01: what the certificate says, and to whom it is shown (RFC 8737, RFC 8738).

Let's Encrypt had to revoke two million certificates because its side took TLS 1.1 and an old identifier; ours offers
neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from ipaddress import ip_address

import pytest
from cryptography import x509
from OpenSSL import SSL

from ca import clock
from ca.errors import NotDelivered
from ca.x509 import names
from renewers.solvers import Challenge
from renewers.solvers.tls_alpn01 import TlsAlpn01Listener
from tests import peer
from tests.tls_alpn import IDENTIFIER, handshake, shown

ACME = [b"acme-tls/1"]


def challenge(name: str = "shop.example", token: str = "A") -> Challenge:
    """A challenge; the token is one letter, over and over."""
    return Challenge("tls-alpn-01", names.guess(name), False, token * 43, f"{token * 43}.{'t' * 43}")


def soon(seconds: float = 60) -> float:
    """A deadline."""
    return clock.monotonic() + seconds


@pytest.fixture(scope="module")
def open_port() -> Iterator[int]:
    """A port that answers for `shop.example` and two addresses."""
    port = peer.free_port()
    solver = TlsAlpn01Listener("127.0.0.1", port)
    with (
        solver.answer(challenge(), deadline=soon()),
        solver.answer(challenge("192.0.2.1", "B"), deadline=soon()),
        solver.answer(challenge("2001:db8::1", "C"), deadline=soon()),
    ):
        yield port


def test_the_certificate_is_what_the_rfc_says(open_port: int) -> None:
    """Self-signed, one name, the digest in a critical extension under the identifier of RFC 8737 section 6.1."""
    found = handshake(open_port, b"shop.example", ACME)
    certificate = found.certificate
    certificate.verify_directly_issued_by(certificate)
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName("shop.example")]
    extension = certificate.extensions.get_extension_for_oid(IDENTIFIER)
    assert extension.critical
    assert IDENTIFIER.dotted_string == "1.3.6.1.5.5.7.1.31"
    digest = sha256(challenge().authorization.encode()).digest()
    assert extension.value == x509.UnrecognizedExtension(IDENTIFIER, b"\x04\x20" + digest)
    assert certificate.not_valid_before_utc < clock.now() < certificate.not_valid_after_utc
    assert found.protocol == b"acme-tls/1"


@pytest.mark.parametrize(("address", "token"), [("192.0.2.1", "B"), ("2001:db8::1", "C")])
def test_an_address_is_asked_for_by_its_reverse_name(open_port: int, address: str, token: str) -> None:
    """RFC 8738 section 6: SNI in `in-addr.arpa` or `ip6.arpa`, an iPAddress in the certificate."""
    found = handshake(open_port, ip_address(address).reverse_pointer.encode(), ACME)
    san = found.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.IPAddress(ip_address(address))]
    assert (
        shown(open_port, challenge(address, token)) == sha256(challenge(address, token).authorization.encode()).digest()
    )


@pytest.mark.parametrize("server_name", [None, b"other.example", b"a.shop.example", b"192.0.2.1"])
def test_another_name_gets_an_alert(open_port: int, server_name: bytes | None) -> None:
    """No name, another one, an address that is written as itself: no certificate is shown."""
    with pytest.raises(SSL.Error):
        handshake(open_port, server_name, ACME)


@pytest.mark.parametrize(
    "offered", [[b"http/1.1"], [b"h2", b"acme-tls/1"], [b"acme-tls/1", b"http/1.1"], [b"acme-tls/2"]]
)
def test_another_protocol_gets_an_alert(open_port: int, offered: list[bytes]) -> None:
    """RFC 8737 section 3: a validation offers this protocol and no other; a browser is not served."""
    with pytest.raises(SSL.Error):
        handshake(open_port, b"shop.example", offered)


def test_the_name_is_compared_without_case(open_port: int) -> None:
    """A CA that mixes case to confuse spoofers is answered."""
    assert handshake(open_port, b"sHoP.eXaMpLe", ACME).protocol == b"acme-tls/1"


def test_tls_is_1_2_or_newer(open_port: int) -> None:
    """RFC 8737 section 3."""
    assert handshake(open_port, b"shop.example", ACME).version == "TLSv1.3"
    assert handshake(open_port, b"shop.example", ACME, newest=SSL.TLS1_2_VERSION).version == "TLSv1.2"
    with pytest.raises(SSL.Error):
        handshake(open_port, b"shop.example", ACME, newest=SSL.TLS1_1_VERSION)


def test_a_second_challenge_for_one_name_waits_for_the_first() -> None:
    """One name can show one certificate: the other order is answered after it, in its own time."""
    port = peer.free_port()
    solver = TlsAlpn01Listener("127.0.0.1", port)
    first, second = challenge(), challenge(token="B")
    entered = threading.Event()
    digests: list[bytes | None] = []

    def other() -> None:
        with solver.answer(second, deadline=soon()):
            entered.set()
            digests.append(shown(port, second))

    with solver.answer(first, deadline=soon()):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.2)
        assert shown(port, first) == sha256(first.authorization.encode()).digest()
    thread.join()
    assert digests == [sha256(second.authorization.encode()).digest()]


def test_a_second_challenge_that_waits_in_vain_is_not_delivered() -> None:
    """By its deadline, with the reason; and the first one is answered on."""
    port = peer.free_port()
    solver = TlsAlpn01Listener("127.0.0.1", port)
    with solver.answer(challenge(), deadline=soon()):
        with pytest.raises(NotDelivered) as failed, solver.answer(challenge(token="B"), deadline=soon(0.2)):
            pytest.fail("it was answered")
        assert shown(port, challenge()) is not None
    assert failed.value.code == "busy"
    assert not peer.listens(port)()


def test_a_port_that_is_taken_leaves_nothing_behind() -> None:
    """The name is free again for the next try."""
    port = peer.free_port()
    solver = TlsAlpn01Listener("127.0.0.1", port)
    with (
        solver_of_somebody_else(port),
        pytest.raises(NotDelivered) as failed,
        solver.answer(challenge(), deadline=soon()),
    ):
        pytest.fail("it was answered")
    assert "acme-tls/1" in (failed.value.hint or "")
    with solver.answer(challenge(token="B"), deadline=soon()):
        assert shown(port, challenge(token="B")) is not None


def solver_of_somebody_else(port: int):
    """Another program that has the port."""
    return TlsAlpn01Listener("127.0.0.1", port).answer(challenge("other.example"), deadline=soon())
