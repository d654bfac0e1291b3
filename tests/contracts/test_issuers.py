"""What every issuer promises, whoever signs: for the key that asked, under the names wanted, once a reference.

The ACME issuer passes the same against a real Pebble in `tests/peers/test_pebble.py`, where orders can be lost, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from cryptography import x509

from ca import certificates, clock
from ca.errors import CertwrightError
from ca.installation import Installation
from ca.x509.names import parse
from renewers.issuers import Issuer, Obtained, SuggestsWindow, Wanted
from renewers.issuers.internal import InternalIssuer
from renewers.issuers.memory import MemoryIssuer, OpinionatedIssuer
from tests import rig

NAME = parse("www.example.internal")


@dataclass
class Remembered:
    """A memory that stays in this test, and says what was asked of it."""

    order_url: str | None = None
    is_finalized: bool = False

    def keep(self, order_url: str | None) -> None:
        """An order, or none."""
        self.order_url, self.is_finalized = order_url, False

    def commit(self) -> None:
        """About to sign."""
        self.is_finalized = True


def wanted(reference: str = "renewal-1", place: int = 0) -> Wanted:
    """One certificate for `www`."""
    csr = rig.make_csr("www.example.internal", key=rig.pooled_key(place=place))
    return Wanted(reference, (NAME,), csr, "", None, None, clock.monotonic() + 60)


@pytest.fixture(params=["internal", "memory", "opinionated"])
def issuer(request: pytest.FixtureRequest, installation: Installation) -> Issuer:
    """Each adapter in turn."""
    make: dict[str, Callable[[], Issuer]] = {
        "internal": lambda: InternalIssuer(installation),
        "memory": MemoryIssuer,
        "opinionated": OpinionatedIssuer,
    }
    return make[request.param]()


def names_in(obtained: Obtained) -> set[str]:
    """The names of what was signed."""
    return set(map(str, certificates.names_of(x509.load_der_x509_certificate(obtained.certificate))))


def test_it_certifies_the_key_that_asked_under_the_names_that_were_wanted(issuer: Issuer) -> None:
    """And hands out the chain above it, each of which has signed the one before."""
    obtained = issuer.obtain(wanted(), Remembered())
    below = x509.load_der_x509_certificate(obtained.certificate)
    assert below.public_key() == rig.pooled_key().public_key()
    assert names_in(obtained) == {"dns:www.example.internal"}
    assert obtained.chain
    for der in obtained.chain:
        above = x509.load_der_x509_certificate(der)
        below.verify_directly_issued_by(above)
        below = above


def test_the_same_renewal_gets_the_same_certificate(issuer: Issuer) -> None:
    """An attempt that is repeated after a crash is answered as the first one was; another renewal is another."""
    first = issuer.obtain(wanted(), Remembered())
    assert issuer.obtain(wanted(), Remembered(is_finalized=True)).certificate == first.certificate
    assert issuer.obtain(wanted("renewal-2"), Remembered()).certificate != first.certificate


def test_it_says_so_before_it_signs(issuer: Issuer) -> None:
    """What may have been signed is remembered as such, so that no second issuer is asked."""
    memory = Remembered()
    issuer.obtain(wanted(), memory)
    assert memory.is_finalized


def test_a_memory_that_fails_ends_it(issuer: Issuer) -> None:
    """Whoever cannot write down that it is about to sign does not have it signed."""

    class Broken(Remembered):
        def commit(self) -> None:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        issuer.obtain(wanted(), Broken())


def test_a_request_that_is_not_signed_by_its_key_is_refused(issuer: Issuer) -> None:
    """Possession of the key is proved to every issuer."""
    csr = bytearray(wanted().csr)
    csr[-1] ^= 1
    with pytest.raises(CertwrightError):
        issuer.obtain(replace(wanted(), csr=bytes(csr)), Remembered())


def test_it_can_be_asked_whether_it_is_there(issuer: Issuer) -> None:
    """Without ordering anything."""
    issuer.check()
    assert isinstance(issuer, SuggestsWindow) == isinstance(issuer, OpinionatedIssuer)


def test_our_own_ca_judges_renewers_as_everybody(installation: Installation) -> None:
    """A name that the profile does not allow is refused with its reason, and nothing is signed."""
    memory = Remembered()
    other = replace(wanted(), names=(parse("www.example.org"),))
    with pytest.raises(CertwrightError, match=r"www\.example\.org"):
        InternalIssuer(installation).obtain(other, memory)
    assert not memory.is_finalized
