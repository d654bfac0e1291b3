"""Who is asked for a certificate, and whether what came back is what was asked for.

Issuers are asked in the lineage's order, those that answer first. An order that was begun is ended where it was begun;
one that may have been signed (`finalized_at`) is waited for, since a second certificate is worse than a late one, until
waiting would be worse. The `Memory` of a renewal is its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from sqlalchemy import select, update
from sqlmodel import col

from ca import certificates, clock
from ca.errors import IssuerUnavailable, Misconfigured, NotDelivered, Refusal
from ca.store import Store, Transaction
from ca.store.commit import StaleChange
from ca.x509.names import Name
from renewers import work
from renewers.inventory.facts import Facts, read_certificate
from renewers.issuers import Obtained, Wanted
from renewers.lifecycle import Lifecycle
from renewers.models import Renewal, TrackedContent
from renewers.renewing import health, planning
from renewers.renewing.planning import Situation
from renewers.work import Claim

WAIT_FOR_SIGNED = 6 * 3600
"""Seconds after which an issuer that was asked to sign and says nothing is given up for the next one."""
LONGEST_CHAIN = 10

Trouble = IssuerUnavailable | NotDelivered | Misconfigured
"""What time, or a person who mends a setting, may mend."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What an issuer answered with, and which one."""

    issuer: str
    obtained: Obtained
    csr: bytes
    names: tuple[Name, ...]
    started_at: int


class RowMemory:
    """A `Memory` in the row of one renewal. Whoever lost the claim writes nothing."""

    def __init__(self, store: Store, renewal: Any, issuer: str, claim: Claim) -> None:
        self._store = store
        self._id = renewal.id
        self._issuer = issuer
        self._claim = claim
        is_same = renewal.issuer == issuer and not _is_given_up(renewal)
        self._order_url = renewal.order_url if is_same else None
        self._is_finalized = is_same and renewal.finalized_at is not None

    @property
    def order_url(self) -> str | None:
        """The order that was begun at this issuer."""
        return self._order_url

    @property
    def is_finalized(self) -> bool:
        """Whether this issuer may have signed."""
        return self._is_finalized

    def keep(self, order_url: str | None) -> None:
        """Remember the order, or that it is dead."""
        self._write(issuer=self._issuer, order_url=order_url, finalized_at=None)
        self._order_url, self._is_finalized = order_url, False

    def commit(self) -> None:
        """Remember that it is about to sign."""
        self._write(issuer=self._issuer, order_url=self._order_url, finalized_at=clock.timestamp())
        self._is_finalized = True

    def _write(self, **values: Any) -> None:
        def unit(tx: Transaction) -> None:
            work.check(tx, self._claim)
            tx.execute(update(Renewal).where(col(Renewal.id) == self._id).values(**values))

        self._store.write(unit)


def obtain(lifecycle: Lifecycle, renewal_id: int, claim: Claim) -> Answered:
    """Ask until one has signed. Raises the last word of those that were asked; a refusal only if all refused."""
    with lifecycle.store.read() as connection:
        renewal = connection.execute(select(Renewal).where(col(Renewal.id) == renewal_id)).one()
        found = planning.situation(connection, renewal.lineage_id)
    assert found is not None
    wanted = _wanted(lifecycle, renewal, found)
    refusal: Refusal | None = None
    trouble: Trouble | None = None
    for name in _candidates(lifecycle, renewal, found):
        memory = RowMemory(lifecycle.store, renewal, name, claim)
        try:
            obtained = _issuer(lifecycle, name).obtain(wanted, memory)
        except StaleChange:
            raise
        except IssuerUnavailable as error:
            health.failed(lifecycle.store, name, error)
            trouble = _sooner(trouble, error)
        except (NotDelivered, Misconfigured) as error:
            trouble = trouble or error
        except Refusal as error:
            refusal = error
        else:
            health.succeeded(lifecycle.store, name)
            return Answered(name, obtained, renewal.csr, found.wanted, renewal.started_at)
        if memory.is_finalized:
            break
    raise trouble or refusal or Misconfigured(f"{found.lineage.name} names no issuer that exists")


def check(answered: Answered, wanted: Sequence[Name]) -> Facts:
    """What the certificate says, if it is the one that was wanted. `IssuerUnavailable` says what is wrong with it."""
    name = answered.issuer
    facts = read_certificate(answered.obtained.certificate)
    leaf = x509.load_der_x509_certificate(answered.obtained.certificate)
    request = x509.load_der_x509_csr(answered.csr)
    if leaf.public_key() != request.public_key():
        raise _nonsense(name, "a certificate for another key")
    if set(certificates.names_of(leaf)) != set(wanted):
        raise _nonsense(name, f"other names than were asked for: {', '.join(facts.names[:5])}")
    if not facts.not_before - 3600 <= clock.timestamp() < facts.not_after:
        raise _nonsense(name, "a certificate that is not valid now; are the clocks right?")
    _check_chain(name, leaf, answered.obtained.chain)
    return facts


def _check_chain(name: str, leaf: x509.Certificate, chain: tuple[bytes, ...]) -> None:
    if len(chain) > LONGEST_CHAIN:
        raise _nonsense(name, f"a chain of {len(chain)} certificates")
    below = leaf
    for der in chain:
        try:
            above = x509.load_der_x509_certificate(der)
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            raise _nonsense(name, "a chain in which one certificate has not signed the one before it") from None
        below = above


def _nonsense(issuer: str, what: str) -> IssuerUnavailable:
    return IssuerUnavailable(f"{issuer} answered with {what}", code="wrong-certificate")


def _wanted(lifecycle: Lifecycle, renewal: Any, found: Situation) -> Wanted:
    return Wanted(
        reference=f"renewal-{renewal.id}",
        names=found.wanted,
        csr=renewal.csr,
        profile=found.lineage.profile,
        lifetime=found.lineage.lifetime,
        replaces=_der(lifecycle, renewal.replaces_id, found),
        deadline=clock.monotonic() + lifecycle.policy.patience,
    )


def _der(lifecycle: Lifecycle, tracked_id: int | None, found: Situation) -> bytes | None:
    """The bytes of the certificate that is followed, if they are at hand."""
    if tracked_id is None or found.current is None:
        return None
    with lifecycle.store.read() as connection:
        of = select(col(TrackedContent.der)).where(col(TrackedContent.tracked_id) == tracked_id)
        return connection.execute(of).scalar()


def _candidates(lifecycle: Lifecycle, renewal: Any, found: Situation) -> list[str]:
    """Who is asked, in which order: first where an order was begun; that one alone if it may have signed."""
    named = list(found.issuers or lifecycle.policy.issuers)
    if renewal.finalized_at is not None and not _is_given_up(renewal):
        return [renewal.issuer]
    if _is_given_up(renewal):
        named.sort(key=lambda name: name == renewal.issuer)
    elif renewal.order_url is not None and renewal.issuer in named:
        named.sort(key=lambda name: name != renewal.issuer)
    return health.in_order(lifecycle.store, named)


def _is_given_up(renewal: Any) -> bool:
    """Whether it was waited for long enough: from then on it is as if that order had never been."""
    return renewal.finalized_at is not None and clock.timestamp() - renewal.finalized_at >= WAIT_FOR_SIGNED


def _issuer(lifecycle: Lifecycle, name: str) -> Any:
    issuer = lifecycle.issuers.get(name)
    if issuer is None:
        raise Misconfigured(f"there is no issuer {name}", hint="certwright issuer list; [issuers] in the settings")
    return issuer


def _sooner(known: Trouble | None, error: IssuerUnavailable) -> Trouble:
    """Of two that ask to be asked again, the sooner one."""
    if isinstance(known, IssuerUnavailable) and (known.retry_after or 0) <= (error.retry_after or 0):
        return known
    return error
